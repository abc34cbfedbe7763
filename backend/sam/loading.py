"""Base models and the decoders that projects put in place of theirs.

A checkpoint is the mask decoder alone, in safetensors, with a manifest that names the base it belongs to.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.errors import BadCheckpoint, BadWeights, Unavailable
from backend.registry.checkpoint import MANIFEST_FILE, Manifest, read_manifest, verified_weights
from backend.sam.arithmetic import chosen_dtype
from backend.sam.canvas import CANVAS_PX
from backend.sam.fused import fuse_attention
from backend.sam.mobile_sam import MobileSamModel
from backend.sam.scoring import Calibration, calibration_of
from backend.sam.tiny_vit import TinyVitEncoder
from backend.sam.weights import HUB_IDS, MOBILE_SAM, base_weights, named_path, without_progress_bars

_PREFIX = "mask_decoder."
_SPARE_BYTES = 1 << 20  # more than any header of a decoder's safetensors takes


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A SAM in evaluation mode without gradients, shared by every project; never changed after loading.

    `encoder_fingerprint` names what an embedding depends on: the encoder's weights and arithmetic. `fingerprint` names
    all weights, and not the arithmetic: a decoder trained on a GPU serves on a CPU. `image_positions` is the
    positional encoding of the embedding's grid. `calibration` comes with a checkpoint that serves as a base.
    """

    name: str
    model: SamModel = field(repr=False)
    device: torch.device
    encoder_dtype: torch.dtype
    encoder_fingerprint: str
    fingerprint: str
    image_positions: Float[Tensor, "1 c gh gw"] = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)


def base_name(name_or_path: str | None, *, device: str = "auto") -> str:
    """Return what to load: the given name, or for None `mobile-sam` on a CPU and `sam-vit-base` elsewhere."""
    return name_or_path or (MOBILE_SAM if _device(device).type == "cpu" else next(iter(HUB_IDS)))


def base_version(name_or_path: str | None, *, device: str = "auto") -> str:
    """Return the version that `load_base` will name the base by, without loading it.

    Raises:
        BadCheckpoint: a checkpoint folder whose manifest cannot be read.
    """
    name = base_name(name_or_path, device=device)
    given = named_path(name)
    if given is None:
        return name
    return read_manifest(given).version if (given / MANIFEST_FILE).is_file() else given.resolve().name


def load_base(
    name_or_path: str | None = None, *, cache_dir: Path, device: str = "auto", dtype: str = "auto"
) -> BaseModel:
    """Load a base model by name, Hugging Face id or folder; a checkpoint folder gives its base with its decoder.

    Args:
        name_or_path: as `base_name` takes it.
        cache_dir: where converted weights are kept.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: the arithmetic, `auto`, `float32` or `bfloat16`; auto is bfloat16 where that is fast.

    Raises:
        BadWeights: they cannot be had or are not a SAM's.
        BadCheckpoint: a checkpoint folder that does not verify.
    """
    where = _device(device)
    arithmetic = chosen_dtype(dtype, where)
    base = load_as_stored(base_name(name_or_path, device=device), cache_dir=cache_dir)
    return _placed(base, device=where, dtype=arithmetic)


def load_as_stored(name: str, *, cache_dir: Path) -> BaseModel:
    """Load what `load_base` loads as it lies on the disk: float32 on the CPU, transformers' own layers. To export it.

    Raises:
        BadWeights, BadCheckpoint: as `load_base`.
    """
    given = named_path(name)
    if given is not None and (given / MANIFEST_FILE).is_file():
        return _with_checkpoint(given, cache_dir=cache_dir)
    return _plain(name, cache_dir=cache_dir)


def decoder_of(base: BaseModel, folder: Path | None) -> SamMaskDecoder:
    """Return a mask decoder of its own: that of the checkpoint, or for None a copy of the base's; in evaluation mode.

    Raises:
        NotFound: the folder holds no checkpoint.
        Unavailable: its file cannot be read just now.
        BadCheckpoint: digests, base, names, shapes or types do not fit, or a weight is not finite.
    """
    decoder = copy.deepcopy(base.model.mask_decoder)
    if folder is not None:
        manifest = read_manifest(folder)
        _check_base(manifest, base)
        path = verified_weights(folder)
        decoder.load_state_dict(_decoder_state(path, like=decoder, version=manifest.version))
    return decoder.requires_grad_(requires_grad=False).eval()


def decoder_bytes(decoder: nn.Module) -> bytes:
    """Write a decoder as the safetensors that `decoder_of` reads: float32, names `mask_decoder.*`."""
    state = {
        f"{_PREFIX}{name}": value.detach().cpu().float().contiguous() for name, value in decoder.state_dict().items()
    }
    return safetensors.torch.save(state, metadata={"format": "pt"})


def _plain(name: str, *, cache_dir: Path) -> BaseModel:
    return _base(base_version(name), _pretrained(base_weights(name, cache_dir=cache_dir)))


def _with_checkpoint(folder: Path, *, cache_dir: Path) -> BaseModel:
    manifest = read_manifest(folder)
    try:
        base = _plain(manifest.base_model, cache_dir=cache_dir)
    except BadWeights as fault:
        raise BadWeights(
            f"{manifest.version} was trained on {manifest.base_model!r}, which is needed: {fault}"
        ) from fault
    decoder = decoder_of(base, folder)
    base.model.mask_decoder = decoder
    calibration = calibration_of(manifest.metrics)
    return replace(base, name=manifest.version, fingerprint=_fingerprint(base.model), calibration=calibration)


def _pretrained(folder: Path) -> SamModel:
    # Any: transformers' annotations hold for few of its own calls.
    kind: Any = SamModel
    try:
        config: Any = SamConfig.from_pretrained(folder)
        if MobileSamModel.__name__ in (config.architectures or ()):
            kind = MobileSamModel
        with without_progress_bars():
            model, found = kind.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as fault:
        raise BadWeights(f"{folder} holds no SAM that can be loaded: {str(fault)[:300]}") from fault
    # transformers fills a weight that is missing with random numbers, and only logs it.
    if lacking := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        raise BadWeights(f"{folder} lacks weights of a SAM, or has them in other shapes: {', '.join(lacking[:5])}")
    if config.vision_config.image_size != CANVAS_PX:
        raise BadWeights(
            f"{folder} is a SAM for {config.vision_config.image_size} px; only {CANVAS_PX} px are supported"
        )
    return cast("SamModel", model)


def _base(name: str, model: Any) -> BaseModel:  # noqa: ANN401 - as above
    """The model as it was read: float32 on the CPU, which is what fingerprints are of."""
    model.eval().requires_grad_(requires_grad=False)
    return BaseModel(
        name=name,
        model=model,
        device=torch.device("cpu"),
        encoder_dtype=torch.float32,
        encoder_fingerprint=_fingerprint(model.vision_encoder),
        fingerprint=_fingerprint(model),
        image_positions=model.get_image_wide_positional_embeddings().detach(),
    )


def _placed(base: BaseModel, *, device: torch.device, dtype: torch.dtype) -> BaseModel:
    """The base where it will compute, and as it will: the encoder in `dtype`, or the costly part of it."""
    model: Any = base.model
    fuse_attention(model.vision_encoder)
    model.to(device)
    # Weights once, not autocast: that casts them in every call, a tenth of the time.
    encoder = model.vision_encoder.to(memory_format=torch.channels_last)
    encoder.compute_in(dtype) if isinstance(encoder, TinyVitEncoder) else encoder.to(dtype)
    return replace(
        base,
        device=device,
        encoder_dtype=dtype,
        encoder_fingerprint=f"{base.encoder_fingerprint}-{str(dtype).removeprefix('torch.')}",
        image_positions=base.image_positions.to(device),
    )


def _fingerprint(module: nn.Module) -> str:
    """SHA-256 of the class and of every weight's name, shape and bytes, in the order of names; in hexadecimal."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_base(manifest: Manifest, base: BaseModel) -> None:
    if manifest.method != "decoder":
        raise BadCheckpoint(f"{manifest.version} was trained by {manifest.method[:40]!r}; only 'decoder' can be served")
    if manifest.base_fingerprint != base.fingerprint:
        raise BadCheckpoint(
            f"{manifest.version} was trained on {manifest.base_model[:100]!r} ({manifest.base_fingerprint[:12]}), "
            f"not on {base.name!r} ({base.fingerprint[:12]}); set SAMLOOP_MODEL to its base, or train again"
        )


def _decoder_state(path: Path, *, like: SamMaskDecoder, version: str) -> dict[str, Tensor]:
    expected = like.state_dict()
    most = sum(value.numel() * 4 for value in expected.values()) + _SPARE_BYTES
    try:
        if (size := path.stat().st_size) > most:
            raise BadCheckpoint(f"the weights of {version} take {size} bytes, and no decoder of this base over {most}")
        # Read, not mapped: a mapped file that is cut short under us kills the process.
        state = safetensors.torch.load(path.read_bytes())
    except OSError as fault:
        raise Unavailable(f"the weights of {version} cannot be read: {fault.strerror or fault}") from fault
    except (SafetensorError, ValueError, KeyError) as fault:
        raise BadCheckpoint(f"the weights of {version} are no safetensors: {str(fault)[:200]}") from fault
    state = {name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else f"?{name}": v for name, v in state.items()}
    _check_state(state, expected, version=version)
    return {name: value.float() for name, value in state.items()}


def _check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, version: str) -> None:
    if odd := sorted(set(state) ^ set(expected)):
        raise BadCheckpoint(f"the weights of {version} are not a decoder's: missing or unknown {', '.join(odd)[:200]}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            shapes = f"{tuple(value.shape)}, not {tuple(expected[name].shape)}"
            raise BadCheckpoint(f"the weights of {version}: {_PREFIX}{name} has shape {shapes}")
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise BadCheckpoint(f"the weights of {version}: {_PREFIX}{name} holds numbers that are not finite")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise BadWeights(f"SAMLOOP_DEVICE={name}, but PyTorch finds no such device here; use auto or cpu")
    return torch.device(name)
