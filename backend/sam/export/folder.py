"""Writes a model as a folder that other programs load: transformers' (hf), segment-anything's (sam), or ONNX graphs.

The folder is written beside its place and then renamed, so it is there whole or not at all.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import torch

from backend.errors import BadInput, Unavailable
from backend.files.durable import fill_folder, write_file
from backend.files.outputs import new_folder
from backend.registry.checkpoint import Manifest
from backend.sam.export.onnx_card import DECODER_FILE, ENCODER_FILE, SEMANTIC_FILE, onnx_card
from backend.sam.export.onnx_decoder import write_decoder
from backend.sam.export.onnx_encoder import write_encoder
from backend.sam.export.onnx_semantic import write_semantic
from backend.sam.export.original_names import refuse_conv_lora
from backend.sam.families.pretrained import without_progress_bars
from backend.sam.loading import BaseModel

Format = Literal["hf", "sam", "onnx"]
CARD_FILE, MANIFEST_FILE = "README.md", "export.json"
_LICENCE = (
    "The weights are their base model's, changed or not: its licence holds on. {title} was published under {licence}. "
    "What was learnt from your images may be bound by their terms too."
)
_NO_SEMANTIC = (
    "The checkpoint's semantic head, which finds objects without a prompt, is not in it: these programs have no such "
    "part. `samloop predict --checkpoint` uses it, and `samloop export --format onnx` writes it too."
)
_ORIGINAL_EPS = 1e-5  # of segment-anything's decoder; a state dict does not contain it


@dataclass(frozen=True, slots=True)
class Origin:
    """The model that a card describes, with its checkpoint's manifest; None for a base model."""

    base: BaseModel
    manifest: Manifest | None = None

    @property
    def version(self) -> str:
        """The version by which samloop serves it."""
        return self.manifest.version if self.manifest else self.base.name


def export(origin: Origin, *, how: Format, out: Path) -> Path:
    """Write the model to the folder `out`; return its absolute path.

    `export.json` names the version, the base, the method and the digest of every file. `README.md` says what the model
    is and how to load it.

    Args:
        origin: the model.
        how: the format.
        out: must not exist, or must be an empty folder.

    Raises:
        BadInput: `out` is not empty, is not a folder, or cannot be written; or other programs cannot load a model that
            was trained by this method.
    """
    family = origin.base.family
    if how not in family.formats:
        raise BadInput(f"{family.title} has no export as {how}: choose --format {' or '.join(family.formats)}")
    out = new_folder(out)
    try:
        with fill_folder(out) as folder:  # fails if somebody has written to `out` in the meantime
            loading = _WRITERS[how](origin.base, folder)
            _describe(origin, how=how, folder=folder, loading=loading)
    except OSError as fault:
        raise BadInput(f"{out} cannot be written: {fault.strerror or fault}; nothing was left there") from fault
    return out


def _write_hf(base: BaseModel, folder: Path) -> str:
    refuse_conv_lora(base.model)
    with without_progress_bars():
        base.model.save_pretrained(folder)
    return base.family.usage()


def _write_sam(base: BaseModel, folder: Path) -> str:
    code = base.family.original(base.model)
    torch.save(code.state if code.wrapper is None else {code.wrapper: code.state}, folder / code.file)
    decoder: Any = cast("Any", base.model.config).mask_decoder_config
    eps = getattr(decoder, "layer_norm_eps", _ORIGINAL_EPS)  # SAM 2's decoder has that of its own code, unsaid
    warning = (
        f"\n\nThis model's decoder was used with `layer_norm_eps={eps:g}`, and segment-anything's has "
        f"{_ORIGINAL_EPS:g}: logits there differ a little."
        if eps != _ORIGINAL_EPS
        else ""
    )
    return f"{code.usage}\n\nsamloop itself takes the file as SAMLOOP_MODEL.{warning}"


def _write_onnx(base: BaseModel, folder: Path) -> str:
    try:
        maps = write_encoder(base.model, folder / ENCODER_FILE, family=base.family)
        write_decoder(base.model, folder / DECODER_FILE, family=base.family, maps=maps)
        if base.semantic is not None:
            write_semantic(base, base.semantic, folder / SEMANTIC_FILE)
    except (ImportError, TypeError) as fault:  # the exporter is gone from this version of PyTorch
        raise Unavailable(
            f"PyTorch {torch.__version__} has no TorchScript exporter to ONNX any more: use the version in "
            "docker/constraints.txt"
        ) from fault
    return onnx_card(base, maps=[tuple(values.shape) for values in maps])


# They write the weights, and return how other programs load them, as paragraphs of Markdown.
_WRITERS: Mapping[Format, Callable[[BaseModel, Path], str]] = {
    "hf": _write_hf,
    "sam": _write_sam,
    "onnx": _write_onnx,
}


def _describe(origin: Origin, *, how: Format, folder: Path, loading: str) -> None:
    """Write the card, and at the end the manifest with the digest of every file."""
    write_file(folder / CARD_FILE, _card(origin, how=how, loading=loading).encode())
    manifest, files = origin.manifest, {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            files[path.name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
            os.fsync(file.fileno())
        path.chmod(0o644)  # safetensors makes its files private
    description = {
        "format": how,
        "version": origin.version,
        "base_model": manifest.base_model if manifest else origin.base.name,
        "base_fingerprint": manifest.base_fingerprint if manifest else origin.base.fingerprint,
        "fingerprint": origin.base.fingerprint,
        "method": manifest.method if manifest else None,
        "trained_at": manifest.created_at if manifest else None,
        "data_digest": manifest.data_digest if manifest else None,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": files,
    }
    write_file(folder / MANIFEST_FILE, (json.dumps(description, indent=1, sort_keys=True) + "\n").encode())


def _card(origin: Origin, *, how: Format, loading: str) -> str:
    family, manifest = origin.base.family, origin.manifest
    side = family.frame.canvas_px
    history = (
        f"`{manifest.base_model}`, fine-tuned by samloop ({manifest.method}) on {manifest.created_at[:10]}; "
        f"its annotations have the digest `{manifest.data_digest[:16]}`."
        if manifest
        else f"The base model `{origin.base.name}` as it is, not fine-tuned."
    )
    parts = [
        f"# {origin.version}",
        f"{family.title}, {side}x{side} px. {history}",
        *([_NO_SEMANTIC] if origin.base.semantic is not None and how != "onnx" else []),
        *_figures(manifest),
        "## How to load it",
        loading,
        "## Licence",
        _LICENCE.format(title=family.title, licence=family.licence),
        f"`{MANIFEST_FILE}` holds the sha256 of every file.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(manifest: Manifest | None) -> list[str]:
    """The figures on the held-out images before and after the training, if the manifest has them."""
    if manifest is None:
        return []
    rows = []
    for prompt in ("box", "point"):
        for metric in ("iou", "boundary_iou"):
            sides = (manifest.metrics.base, manifest.metrics.candidate)
            figures = [side.with_prompt(prompt).figure(metric) for side in sides if side is not None]
            shown = [f"{figure:.3f}" for figure in figures if figure is not None]
            if len(shown) == len(sides):
                rows.append(f"| {prompt} | {metric.replace('_', ' ')} | {' | '.join(shown)} |")
    if not rows:
        return []
    return ["\n".join(["| Prompt | Held-out | base | this |", "| --- | --- | --- | --- |", *rows])]
