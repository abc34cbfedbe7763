"""How large a training's steps are, by what its device can hold: SAMLOOP_PRESET, and what a preset takes.

On a processor one image and six objects a step: more would be fewer steps in the same time. On GPUs steps are as large
as keeps them busy. What a GPU needs is computed here from sizes of parameters and activations, not measured; the
manifest of every checkpoint states what its training took (`metrics.memory_mib`).
"""

import resource
import sys
from dataclasses import dataclass, replace

import torch

from backend.errors import SettingsError
from backend.sam.loading import resolved_device
from backend.settings import Settings
from finetuner.config import LOSS_MIXES, TrainConfig

# What autograd keeps of one prompt in the decoder, losses included (measured: tests/finetuner/test_presets.py).
DECODE_MIB = {"bfloat16": 33.0, "float32": 63.0}
_BACK = 1.5  # gradients on the way back, beside what is kept
_DECODER = 4_058_340  # parameters; in float32 the base's, and seven of those that are trained
_CELLS = 64 * 64
_BLOCK = 16  # maps of a block's width that autograd keeps of it: norms, qkv, attention, both sides of the MLP's GELU
_OWN_MIB = 600.0  # CUDA's context and libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Objects of an image, images of a step, its parts, and whether an encoder's blocks are run again on the way back.

    `recompute` None: as the recipe has it, by the kind of encoder.
    """

    name: str
    from_gib: float
    objects_per_step: int
    images_per_step: int
    accumulate: int
    recompute: bool | None


@dataclass(frozen=True, slots=True)
class Encoder:
    """A vision transformer's parameters, and its blocks' count, width and heads; four blocks look at all cells."""

    parameters: int
    depth: int
    width: int
    heads: int


ENCODERS = {
    "sam-vit-base": Encoder(89_670_912, 12, 768, 12),
    "sam-vit-large": Encoder(308_278_272, 24, 1024, 16),
    "sam-vit-huge": Encoder(637_026_048, 32, 1280, 16),
}
PRESETS = {
    each.name: each
    for each in (
        Preset(name="cpu", from_gib=0.0, objects_per_step=6, images_per_step=1, accumulate=1, recompute=None),
        Preset(name="8gb", from_gib=0.0, objects_per_step=8, images_per_step=2, accumulate=2, recompute=True),
        Preset(name="24gb", from_gib=20.0, objects_per_step=12, images_per_step=4, accumulate=1, recompute=True),
        Preset(name="80gb", from_gib=70.0, objects_per_step=16, images_per_step=8, accumulate=2, recompute=False),
    )
}


def preset_for(name: str, *, device_gib: float | None) -> Preset:
    """The preset of this name; `auto`: the largest that a GPU with so much memory is made for; None: no GPU."""
    if name != "auto":
        return PRESETS[name]
    if device_gib is None:
        return PRESETS["cpu"]
    return [each for each in PRESETS.values() if each.name != "cpu" and each.from_gib <= device_gib][-1]


def config_of(settings: Settings) -> TrainConfig:
    """The recipe with what the settings decide of it.

    Raises:
        SettingsError: their step cannot be done in so many parts.
    """
    recipe = TrainConfig(
        method=settings.training.method,
        start=settings.training.start,
        losses=LOSS_MIXES[settings.training.losses],
        head=settings.training.head,
        unlabelled=settings.training.unlabelled,
        epochs=settings.training.epochs,
        seconds=settings.training.seconds,
        views=settings.training.views,
        replay=settings.training.replay,
        forgetting=settings.training.forgetting,
        annotators=settings.training.annotators,
        rectangles_are_masks=settings.training.rectangle_masks,
    )
    return with_preset(recipe, settings)


def with_preset(config: TrainConfig, settings: Settings) -> TrainConfig:
    """The recipe with the sizes of the preset that the settings name; sizes that they name themselves come first.

    Raises:
        SettingsError: a step of so many images cannot be done in so many parts.
    """
    device = resolved_device(settings.sam.device)
    gib = torch.cuda.get_device_properties(device).total_memory / 2**30 if device.type == "cuda" else None
    preset = preset_for(settings.training.preset, device_gib=gib)
    images = settings.training.images_per_step or preset.images_per_step
    if settings.training.accumulate and settings.training.accumulate > images:
        raise SettingsError(
            f"SAMLOOP_ACCUMULATE={settings.training.accumulate} parts are more than the {images} image(s) of a step "
            f"(SAMLOOP_IMAGES_PER_STEP, or the preset {preset.name}): set it to at most {images}"
        )
    return replace(
        config,
        objects_per_step=settings.training.objects_per_step or preset.objects_per_step,
        images_per_step=images,
        accumulate=settings.training.accumulate or min(preset.accumulate, images),
        recompute=config.recompute if preset.recompute is None else preset.recompute,
    )


def computed_mib(preset: Preset, *, encoder: Encoder, adapts: bool, precision: str = "bfloat16") -> float:
    """What a training needs of a GPU: weights, their gradients and averages, activations. Computed, not measured.

    `adapts`: an adapter in the encoder is trained too (its own few parameters are not counted).
    """
    wide = 2 if precision == "bfloat16" else 4
    images = -(-preset.images_per_step // preset.accumulate)
    weights = encoder.parameters * wide + 8 * _DECODER * 4
    decodes = images * preset.objects_per_step * DECODE_MIB[precision] * _BACK
    kept = images * _encoder_bytes(encoder, wide=wide, recompute=preset.recompute is not False) if adapts else 0
    once = _block_bytes(encoder, wide=wide, is_global=True)  # an image's way forward, or the block run again on its way
    return _OWN_MIB + decodes + (weights + kept + once) / 2**20


def peak_mib() -> int:
    """The most memory that this process has had: of the GPU where it used one, else of the machine."""
    if torch.cuda.is_available() and (most := torch.cuda.max_memory_reserved()):
        return int(most >> 20)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most >> 20 if sys.platform == "darwin" else most >> 10)


def _encoder_bytes(encoder: Encoder, *, wide: int, recompute: bool) -> int:
    """What autograd keeps of one image on its way through the encoder."""
    if recompute:
        return encoder.depth * _CELLS * encoder.width * wide
    local, everywhere = (_block_bytes(encoder, wide=wide, is_global=is_global) for is_global in (False, True))
    return (encoder.depth - 4) * local + 4 * everywhere


def _block_bytes(encoder: Encoder, *, wide: int, is_global: bool) -> int:
    """One block: its maps, and where all cells attend to all, the positions that are added to their scores, twice."""
    scores = 2 * encoder.heads * _CELLS * _CELLS if is_global else 0
    return wide * (_BLOCK * _CELLS * encoder.width + scores)
