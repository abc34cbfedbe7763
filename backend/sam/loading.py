"""Base models, and what projects put in place of parts of them.

A checkpoint is what was trained and no more, in safetensors: the mask decoder, and where there is one the adapter in
the encoder and the semantic head. Its manifest names the base it belongs to.
"""

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.errors import BadCheckpoint, BadWeights, Unavailable
from backend.registry.calibration import Calibration
from backend.registry.checkpoint import MANIFEST_FILE, Manifest, read_manifest, verified_weights
from backend.sam.adapters.served import (
    CONV_LORA,
    LORA,
    Adapter,
    adapted_encoder,
    adapter_sizes,
    expected_shapes,
    sharing,
)
from backend.sam.families.mobile import MobileSamModel
from backend.sam.frame import SAM_FRAME, Frame
from backend.sam.layers.arithmetic import chosen_dtype
from backend.sam.layers.fused_attention import fuse_attention
from backend.sam.layers.tiny_vit import TinyVitEncoder
from backend.sam.semantic.head import PREFIX, SemanticHead
from backend.sam.weights import HUB_IDS, MOBILE_SAM, base_weights, named_path, without_progress_bars

_PREFIX, _ENCODER = "mask_decoder.", "vision_encoder."
_METHODS = ("decoder", LORA, CONV_LORA)
_SPARE_BYTES = 1 << 20  # more than any header of a checkpoint's safetensors takes


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A SAM in evaluation mode without gradients, shared by every project; never changed after loading.

    `encoder_fingerprint` names what an embedding depends on: the encoder's weights and arithmetic. `fingerprint` names
    all weights, and not the arithmetic: a decoder trained on a GPU serves on a CPU. `image_positions` is the
    positional encoding of the embedding's grid. `calibration`, and `semantic` where its head may be served, come with a
    checkpoint that serves as a base.
    """

    name: str
    model: SamModel = field(repr=False)
    device: torch.device
    encoder_dtype: torch.dtype
    encoder_fingerprint: str
    fingerprint: str
    image_positions: Float[Tensor, "1 c gh gw"] = field(repr=False)
    calibration: Calibration | None = field(default=None, repr=False)
    semantic: SemanticHead | None = field(default=None, repr=False)

    @property
    def frame(self) -> Frame:
        """How images are laid out for its encoder."""
        return SAM_FRAME


@dataclass(frozen=True, slots=True)
class Trained:
    """What a checkpoint puts into a base: its decoder; the adapter in its encoder and the semantic head if it has them.

    `serves_semantic`: the head was measured and found fit to be served.
    """

    decoder: SamMaskDecoder
    adapter: Adapter | None
    semantic: SemanticHead | None = None
    serves_semantic: bool = False


def base_name(name_or_path: str | None, *, device: str = "auto") -> str:
    """Return what to load: the given name, or for None `mobile-sam` on a CPU and `sam-vit-base` elsewhere."""
    return name_or_path or (MOBILE_SAM if resolved_device(device).type == "cpu" else next(iter(HUB_IDS)))


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
    where = resolved_device(device)
    arithmetic = chosen_dtype(dtype, where)
    base, adapter = _stored(base_name(name_or_path, device=device), cache_dir=cache_dir)
    placed = _placed(base, device=where, dtype=arithmetic)
    return placed if adapter is None else with_adapter(placed, adapter)


def load_as_stored(name: str, *, cache_dir: Path) -> BaseModel:
    """Load what `load_base` loads as it lies on the disk: float32 on the CPU, transformers' own layers. To export it.

    Raises:
        BadWeights, BadCheckpoint: as `load_base`.
    """
    base, adapter = _stored(name, cache_dir=cache_dir)
    return base if adapter is None else with_adapter(base, adapter)


def _stored(name: str, *, cache_dir: Path) -> tuple[BaseModel, Adapter | None]:
    """What lies on the disk, and what is still to be put into its encoder once that is where it will compute."""
    given = named_path(name)
    if given is not None and (given / MANIFEST_FILE).is_file():
        return _with_checkpoint(given, cache_dir=cache_dir)
    return _plain(name, cache_dir=cache_dir), None


def decoder_of(base: BaseModel, folder: Path | None) -> SamMaskDecoder:
    """Return a mask decoder of its own: that of the checkpoint, or for None a copy of the base's; in evaluation mode.

    Raises:
        NotFound, Unavailable, BadCheckpoint: as `trained_of`.
        BadCheckpoint: the checkpoint has an adapter, and its decoder sees nothing without it: take `predictor_of`.
    """
    if folder is None:
        return copy.deepcopy(base.model.mask_decoder).requires_grad_(requires_grad=False).eval()
    trained = trained_of(base, folder)
    if trained.adapter is not None:
        raise BadCheckpoint(
            f"checkpoint {folder} changes the encoder ({trained.adapter.method}), not the decoder alone"
        )
    return trained.decoder


def trained_of(base: BaseModel, folder: Path) -> Trained:
    """Return what a checkpoint puts into this base; the decoder in evaluation mode.

    Raises:
        NotFound: the folder holds no checkpoint.
        Unavailable: its file cannot be read just now.
        BadCheckpoint: digests, base, method, names, shapes or types do not fit, or a weight is not finite.
    """
    manifest = read_manifest(folder)
    _check_base(manifest, base)
    decoder = copy.deepcopy(base.model.mask_decoder)
    shapes = {f"{_PREFIX}{name}": tuple(value.shape) for name, value in decoder.state_dict().items()}
    rank, alpha = 0, 0.0
    if manifest.method != "decoder":
        rank, alpha = adapter_sizes(manifest.config, version=manifest.version)
        found = expected_shapes(base.model.vision_encoder, method=manifest.method, rank=rank)
        shapes |= {f"{_ENCODER}{name}": shape for name, shape in found.items()}
    semantic, head = manifest.metrics.semantic, None
    if semantic is not None:
        head = new_head(base, labels=semantic.labels)
        shapes |= {f"{PREFIX}{name}": tuple(value.shape) for name, value in head.state_dict().items()}
    state = _state(verified_weights(folder), shapes=shapes, version=manifest.version)
    if head is not None:
        head.load_state_dict(_below(state, PREFIX))
        head.requires_grad_(requires_grad=False).eval()
    decoder.load_state_dict(_below(state, _PREFIX))
    adapter = Adapter(manifest.method, rank, alpha, _below(state, _ENCODER)) if rank else None
    return Trained(
        decoder.requires_grad_(requires_grad=False).eval(),
        adapter,
        head,
        serves_semantic=semantic is not None and semantic.is_served,
    )


def new_head(base: BaseModel, *, labels: Sequence[str | None], seed: int = 0) -> SemanticHead:
    """A semantic head as it is before it learns, on the base's device; see semantic.SemanticHead."""
    model: Any = base.model
    ground = model.prompt_encoder.no_mask_embed.weight[0]
    return SemanticHead(model.mask_decoder, ground=ground, labels=labels, seed=seed).to(base.device)


def with_adapter(base: BaseModel, adapter: Adapter) -> BaseModel:
    """The base with an adapter in its encoder: its embeddings have keys of their own, all else is the base's.

    Its `fingerprint` stays: a checkpoint with an adapter belongs to the base without.
    """
    model: Any = sharing(base.model)
    model.vision_encoder = adapted_encoder(model.vision_encoder, adapter)
    return replace(base, model=model, encoder_fingerprint=f"{base.encoder_fingerprint}+{adapter.digest}")


def decoder_bytes(decoder: nn.Module, adapter: Mapping[str, Tensor] = MappingProxyType({})) -> bytes:
    """Write what was trained as the safetensors that `trained_of` reads, in float32.

    Names: `mask_decoder.*`, and those of the `adapter` after `vision_encoder.`.
    """
    named = {f"{_PREFIX}{name}": value for name, value in decoder.state_dict().items()}
    named |= {f"{_ENCODER}{name}": value for name, value in adapter.items()}
    state = {name: value.detach().cpu().float().contiguous() for name, value in named.items()}
    return safetensors.torch.save(state, metadata={"format": "pt"})


def _plain(name: str, *, cache_dir: Path) -> BaseModel:
    return _base(base_version(name), _pretrained(base_weights(name, cache_dir=cache_dir)))


def _with_checkpoint(folder: Path, *, cache_dir: Path) -> tuple[BaseModel, Adapter | None]:
    """The checkpoint's base with its decoder, and what is still to be put into its encoder."""
    manifest = read_manifest(folder)
    try:
        base = _plain(manifest.base_model, cache_dir=cache_dir)
    except BadWeights as fault:
        raise BadWeights(
            f"{manifest.version} was trained on {manifest.base_model!r}, which is needed: {fault}"
        ) from fault
    trained = trained_of(base, folder)
    base.model.mask_decoder = trained.decoder
    fingerprint = _fingerprint(base.model)
    if trained.adapter is not None:
        fingerprint = hashlib.sha256(f"{fingerprint}+{trained.adapter.digest}".encode()).hexdigest()
    served = replace(
        base,
        name=manifest.version,
        fingerprint=fingerprint,
        calibration=manifest.metrics.calibration,
        semantic=trained.semantic if trained.serves_semantic else None,
    )
    return served, trained.adapter


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
    if config.vision_config.image_size != SAM_FRAME.canvas_px:
        raise BadWeights(
            f"{folder} is a SAM for {config.vision_config.image_size} px; only {SAM_FRAME.canvas_px} px are supported"
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
        semantic=None if base.semantic is None else base.semantic.to(device),
    )


def _fingerprint(module: nn.Module) -> str:
    """SHA-256 of the class and of every weight's name, shape and bytes, in the order of names; in hexadecimal."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_base(manifest: Manifest, base: BaseModel) -> None:
    if manifest.method not in _METHODS:
        known = ", ".join(_METHODS)
        raise BadCheckpoint(f"{manifest.version} was trained by {manifest.method[:40]!r}; served can be {known}")
    if manifest.base_fingerprint != base.fingerprint:
        raise BadCheckpoint(
            f"{manifest.version} was trained on {manifest.base_model[:100]!r} ({manifest.base_fingerprint[:12]}), "
            f"not on {base.name!r} ({base.fingerprint[:12]}); set SAMLOOP_MODEL to its base, or train again"
        )


def _state(path: Path, *, shapes: Mapping[str, tuple[int, ...]], version: str) -> dict[str, Tensor]:
    most = sum(math.prod(shape) * 4 for shape in shapes.values()) + _SPARE_BYTES
    try:
        if (size := path.stat().st_size) > most:
            raise BadCheckpoint(f"the weights of {version} take {size} bytes, and what fits this base not over {most}")
        # Read, not mapped: a mapped file that is cut short under us kills the process.
        state = safetensors.torch.load(path.read_bytes())
    except OSError as fault:
        raise Unavailable(f"the weights of {version} cannot be read: {fault.strerror or fault}") from fault
    except (SafetensorError, ValueError, KeyError) as fault:
        raise BadCheckpoint(f"the weights of {version} are no safetensors: {str(fault)[:200]}") from fault
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


def resolved_device(name: str) -> torch.device:
    """The device that `SAMLOOP_DEVICE` names; auto: a GPU where PyTorch finds one.

    Raises:
        BadWeights: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise BadWeights(f"SAMLOOP_DEVICE={name}, but PyTorch finds no such device here; use auto or cpu")
    return torch.device(name)
