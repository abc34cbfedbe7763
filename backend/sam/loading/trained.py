"""Reads, checks and writes the parts that a checkpoint puts into a base.

A checkpoint holds only the trained parts, in safetensors: the mask decoder, and the adapter in the encoder and the
semantic head if there are any. Its manifest names the base that it belongs to.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from backend.errors import BadCheckpoint
from backend.registry.checkpoint import Manifest, read_manifest, read_weights
from backend.sam.adapters.kind import Adapter
from backend.sam.adapters.served import adapter_sizes, list_kinds, list_shapes
from backend.sam.embeddings.domain import PREFIX as DOMAIN
from backend.sam.embeddings.domain import Domain
from backend.sam.family import MaskDecoder
from backend.sam.loading.base import BaseModel
from backend.sam.semantic.head import PREFIX, SemanticHead

_PREFIX, _ENCODER = "mask_decoder.", "vision_encoder."
_DECODER_ALONE = "decoder"
_SPARE_BYTES = 1 << 20  # more than the header of a checkpoint's safetensors ever takes


@dataclass(frozen=True, slots=True)
class Trained:
    """The parts that a checkpoint puts into a base.

    Attributes:
        decoder: the mask decoder.
        adapter: the adapter in the encoder; None for none.
        semantic: the semantic head; None for none.
        serves_semantic: whether the head was measured and is good enough to be served.
        domain: the images that the decoder answers; None for all images.
    """

    decoder: MaskDecoder
    adapter: Adapter | None
    semantic: SemanticHead | None = None
    serves_semantic: bool = False
    domain: Domain | None = None


def decoder_of(base: BaseModel, folder: Path | None) -> MaskDecoder:
    """Return a checkpoint's mask decoder, or for None a copy of the base's; in evaluation mode.

    Raises:
        NotFound, Unavailable, BadCheckpoint: as `find_trained` does.
        BadCheckpoint: the checkpoint has an adapter, without which its decoder is useless: take `predictor_of`.
    """
    if folder is None:
        return copy.deepcopy(base.model.mask_decoder).requires_grad_(requires_grad=False).eval()
    trained = find_trained(base, folder)
    if trained.adapter is not None:
        raise BadCheckpoint(f"checkpoint {folder} changes the encoder ({trained.adapter.kind}), not the decoder alone")
    return trained.decoder


def find_trained(base: BaseModel, folder: Path) -> Trained:
    """Return the parts that a checkpoint puts into this base, in evaluation mode.

    Raises:
        NotFound: the folder holds no checkpoint.
        Unavailable: its file cannot be read at the moment.
        BadCheckpoint: its digests, base, method, names, shapes or types do not fit, or a weight is not finite.
    """
    manifest = read_manifest(folder)
    _check_base(manifest, base)
    decoder = copy.deepcopy(base.model.mask_decoder)
    shapes = {f"{_PREFIX}{name}": tuple(value.shape) for name, value in decoder.state_dict().items()}
    kind, rank, alpha = _adapter_kind(manifest), 0, 0.0
    if kind is not None:
        rank, alpha = adapter_sizes(manifest.config.adapter, version=manifest.version)
        places = base.family.places(base.model.vision_encoder)
        adapted = list_shapes(places, kind=kind, rank=rank)
        shapes |= {f"{_ENCODER}{name}": shape for name, shape in adapted.items()}
    semantic, head = manifest.metrics.semantic, None
    if semantic is not None:
        head = new_head(base, labels=semantic.labels)
        shapes |= {f"{PREFIX}{name}": tuple(value.shape) for name, value in head.state_dict().items()}
    shapes |= _domain_shapes(manifest, base)
    state = _state(folder, shapes=shapes, version=manifest.version)
    if head is not None:
        head.load_state_dict(_below(state, PREFIX))
        head.requires_grad_(requires_grad=False).eval()
    decoder.load_state_dict(_below(state, _PREFIX))
    adapter = None if kind is None else Adapter(kind, rank, alpha, _below(state, _ENCODER))
    return Trained(
        decoder.requires_grad_(requires_grad=False).eval(),
        adapter,
        head,
        serves_semantic=semantic is not None and semantic.is_served,
        domain=_domain(manifest, state),
    )


def new_head(base: BaseModel, *, labels: Sequence[str | None], seed: int = 0) -> SemanticHead:
    """Return an untrained semantic head on the base's device; see semantic.head.SemanticHead."""
    model: Any = base.model
    ground = model.prompt_encoder.no_mask_embed.weight[0]
    return SemanticHead(model.mask_decoder, ground=ground, labels=labels, seed=seed).to(base.device)


def decoder_bytes(decoder: nn.Module, adapter: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
    """Return the trained parts as the bytes of safetensors that `find_trained` reads, in float32.

    The decoder's names begin with `mask_decoder.`, the adapter's with `vision_encoder.`.
    """
    named = {f"{_PREFIX}{name}": value for name, value in decoder.state_dict().items()}
    named |= {f"{_ENCODER}{name}": value for name, value in adapter.items()}
    state = {name: value.detach().cpu().float().contiguous() for name, value in named.items()}
    return safetensors.torch.save(state, metadata={"format": "pt"})


def _check_base(manifest: Manifest, base: BaseModel) -> None:
    if manifest.base_fingerprint != base.fingerprint:
        raise BadCheckpoint(
            f"{manifest.version} was trained on {manifest.base_model[:100]!r} ({manifest.base_fingerprint[:12]}), "
            f"not on {base.name!r} ({base.fingerprint[:12]}); set SAMLOOP_MODEL to its base, or train again"
        )


def _adapter_kind(manifest: Manifest) -> str | None:
    """Return the kind of a checkpoint's adapter; None for a decoder alone.

    The config in a manifest names the kind, whatever method trained it. So a new method with an adapter of a known kind
    is served like any other. In older manifests, the method's name is the kind.
    """
    entry, kinds = manifest.config.adapter, list_kinds()
    if manifest.config.names_adapter and entry is None:
        return None
    kind = manifest.method if entry is None else entry.get("kind", manifest.method)
    if kind == _DECODER_ALONE:
        return None
    if kind not in kinds:
        known = ", ".join((_DECODER_ALONE, *sorted(kinds)))
        raise BadCheckpoint(f"{manifest.version} was trained by {str(kind)[:40]!r}; samloop can serve {known}")
    return str(kind)


def _domain_shapes(manifest: Manifest, base: BaseModel) -> dict[str, tuple[int, ...]]:
    domain, channels = manifest.metrics.domain, base.image_positions.shape[1]
    if domain is None:
        return {}
    return {f"{DOMAIN}learnt": (domain.learnt, channels), f"{DOMAIN}others": (domain.others, channels)}


def _domain(manifest: Manifest, state: Mapping[str, Tensor]) -> Domain | None:
    if manifest.metrics.domain is None:
        return None
    return Domain(**_below(state, DOMAIN), radius=manifest.metrics.domain.radius)


def _state(folder: Path, *, shapes: Mapping[str, tuple[int, ...]], version: str) -> dict[str, Tensor]:
    most = sum(math.prod(shape) * 4 for shape in shapes.values()) + _SPARE_BYTES
    # Read, not mapped: if somebody truncates a mapped file, the process dies.
    data = read_weights(folder, most_bytes=most)
    try:
        state = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as fault:
        raise BadCheckpoint(f"the weights of {version} are not safetensors: {str(fault)[:200]}") from fault
    _check_state(state, shapes, version=version)
    return {name: value.float() for name, value in state.items()}


def _check_state(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, version: str) -> None:
    if odd := sorted(set(state) ^ set(shapes)):
        raise BadCheckpoint(f"the weights of {version} do not fit: missing or unknown {', '.join(odd)[:200]}")
    for name, value in state.items():
        if tuple(value.shape) != shapes[name]:
            raise BadCheckpoint(f"the weights of {version}: {name} has shape {tuple(value.shape)}, not {shapes[name]}")
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise BadCheckpoint(f"the weights of {version}: {name} holds numbers that are not finite")


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
