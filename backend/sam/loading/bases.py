"""Finds the base model that a name means, and loads it. A checkpoint's folder gives its base with its decoder."""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch

from backend.errors import BadCheckpoint, BadWeights
from backend.registry.checkpoint import MANIFEST_FILE, Manifest, read_manifest
from backend.sam.adapters.kind import Adapter
from backend.sam.families import family_of
from backend.sam.layers.arithmetic import choose_arithmetic
from backend.sam.loading.base import BaseModel, fingerprint_of, new_base, place_model, with_adapter
from backend.sam.loading.trained import find_trained
from backend.sam.weights import MOBILE_SAM, base_weights, find_path

_MOST_TRAININGS = 8  # in a chain: a checkpoint may be the base of the next training
_ELSEWHERE = "sam-vit-base"  # the default of a machine with a GPU


def base_name(name_or_path: str | None, *, device: str = "auto") -> str:
    """Return the name; for None, `mobile-sam` on a CPU and `sam-vit-base` on other devices."""
    return name_or_path or (MOBILE_SAM if resolve_device(device).type == "cpu" else _ELSEWHERE)


def base_version(name_or_path: str | None, *, device: str = "auto") -> str:
    """Return the version that `load_base` will give the base, without loading it.

    Raises:
        BadCheckpoint: the name is a checkpoint's folder whose manifest cannot be read.
    """
    name = base_name(name_or_path, device=device)
    given = find_path(name)
    if given is None:
        return name
    return read_manifest(given).version if (given / MANIFEST_FILE).is_file() else given.resolve().name


def load_base(
    name_or_path: str | None = None, *, cache_dir: Path, device: str = "auto", dtype: str = "auto"
) -> BaseModel:
    """Load a base model by name, Hugging Face id or folder. A checkpoint's folder gives its base with its decoder.

    Args:
        name_or_path: as for `base_name`.
        cache_dir: holds converted weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: `auto`, `float32`, `bfloat16` or `int8`, as `choose_arithmetic` takes it.

    Raises:
        BadWeights: the weights cannot be found, or are not a SAM's; or the machine does not have the arithmetic.
        BadCheckpoint: the checkpoint does not verify.
    """
    where = resolve_device(device)
    base, adapter = _find_stored(base_name(name_or_path, device=device), cache_dir=cache_dir)
    arithmetic = choose_arithmetic(dtype, where, holds_in_int8=base.family.holds_in_int8)
    base = place_model(base, device=where, arithmetic=arithmetic)
    return base if adapter is None else with_adapter(base, adapter)


def load_base_of(manifest: Manifest, *, like: BaseModel, cache_dir: Path) -> BaseModel:
    """Load the base that a checkpoint was trained on, with the device and arithmetic of another base.

    Args:
        manifest: the checkpoint's manifest.
        like: a base with the desired device and arithmetic.
        cache_dir: holds converted weights.

    Raises:
        BadWeights: the base cannot be found any more, or has other weights now.
        BadCheckpoint: the base is itself a checkpoint, which does not verify.
    """
    stored = _base_of(manifest, cache_dir=cache_dir, otherwise=None)
    return place_model(stored, device=like.device, arithmetic=like.arithmetic)


def load_as_stored(name: str, *, cache_dir: Path, otherwise: str | None = None) -> BaseModel:
    """Load a base for an export: as it lies on the disk, in float32 on the CPU, with transformers' own layers.

    Args:
        name: as for `load_base`.
        cache_dir: holds converted weights.
        otherwise: for a checkpoint's folder, a base to try if the base that it names is not here.

    Raises:
        BadWeights, BadCheckpoint: as `load_base` does.
    """
    base, adapter = _find_stored(name, cache_dir=cache_dir, otherwise=otherwise)
    return base if adapter is None else with_adapter(base, adapter)


def _find_stored(
    name: str, *, cache_dir: Path, otherwise: str | None = None, depth: int = 0
) -> tuple[BaseModel, Adapter | None]:
    """Read a base from the disk, and the adapter to put into its encoder once that is on its device."""
    given = find_path(name)
    if given is not None and (given / MANIFEST_FILE).is_file():
        if depth > _MOST_TRAININGS:
            raise BadCheckpoint(
                f"{given} ends a chain of more than {_MOST_TRAININGS} trainings on checkpoints; train on a base model"
            )
        return _with_checkpoint(given, cache_dir=cache_dir, otherwise=otherwise, depth=depth)
    return _plain(name, cache_dir=cache_dir), None


def _plain(name: str, *, cache_dir: Path) -> BaseModel:
    folder = base_weights(name, cache_dir=cache_dir)
    family, given = family_of(folder), find_path(name)
    source = None if given is None else str(given.resolve())
    return new_base(base_version(name), family.load(folder), family=family, source=source)


def _with_checkpoint(
    folder: Path, *, cache_dir: Path, otherwise: str | None, depth: int
) -> tuple[BaseModel, Adapter | None]:
    """Read a checkpoint's base with its decoder, and the adapter to put into its encoder later."""
    manifest = read_manifest(folder)
    base = _base_of(manifest, cache_dir=cache_dir, otherwise=otherwise, depth=depth)
    trained = find_trained(base, folder)
    base.model.mask_decoder = trained.decoder
    fingerprint = fingerprint_of(base.model)
    if trained.adapter is not None:
        fingerprint = hashlib.sha256(f"{fingerprint}+{trained.adapter.digest}".encode()).hexdigest()
    served = replace(
        base,
        name=manifest.version,
        source=str(folder.resolve()),
        fingerprint=fingerprint,
        calibration=manifest.metrics.calibration,
        semantic=trained.semantic if trained.serves_semantic else None,
    )
    return served, trained.adapter


def _base_of(manifest: Manifest, *, cache_dir: Path, otherwise: str | None, depth: int = 0) -> BaseModel:
    """Read the base with the manifest's fingerprint, from its old place, by its name, or from `otherwise`."""
    source = manifest.config.base_source
    faults: list[str] = []
    for name in dict.fromkeys(name for name in (source, manifest.base_model, otherwise) if isinstance(name, str)):
        try:
            base, adapter = _find_stored(name, cache_dir=cache_dir, depth=depth + 1)
        except (BadWeights, BadCheckpoint) as fault:
            faults.append(str(fault))
            continue
        if base.fingerprint == manifest.base_fingerprint:
            return base if adapter is None else with_adapter(base, adapter)
        faults.append(
            f"{name} has other weights ({base.fingerprint[:12]}, not {manifest.base_fingerprint[:12]}): put those "
            "back, or set SAMLOOP_MODEL to where they lie"
        )
    if depth:  # the outermost call names the checkpoint
        raise BadWeights(faults[0])
    raise BadWeights(f"{manifest.version} was trained on {manifest.base_model!r}, which it needs: {faults[0]}")


def resolve_device(name: str) -> torch.device:
    """Return the device that `SAMLOOP_DEVICE` names; for `auto`, a GPU if PyTorch finds one, else the CPU.

    Raises:
        BadWeights: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise BadWeights(f"SAMLOOP_DEVICE={name}, but PyTorch finds no such device here; use auto or cpu")
    return torch.device(name)
