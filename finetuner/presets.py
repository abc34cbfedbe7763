"""Chooses the size of a training's steps by the device's memory: SAMLOOP_PRESET.

On a CPU a step has one image and six objects: more would mean fewer steps in the same time. On a GPU a step is large
enough to keep it busy; tests/finetuner/test_presets.py computes from the sizes of parameters and activations that it
fits. The manifest of every checkpoint records the memory of its training (`metrics.memory_mib`).
"""

import resource
import sys
from dataclasses import dataclass, replace

import torch

from backend.amounts import write_amount
from backend.errors import SettingsError
from backend.sam.loading import resolve_device
from backend.settings import Settings
from finetuner.config import LOSS_MIXES, TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The sizes of a step.

    Attributes:
        name: the value of SAMLOOP_PRESET.
        from_gib: the least memory of a GPU for which `auto` chooses it.
        objects_per_step: objects per image.
        images_per_step: images per step.
        accumulate: the parts of a step.
        recompute: whether the backward pass runs the encoder's blocks again; None: depends on the kind of encoder.
    """

    name: str
    from_gib: float
    objects_per_step: int
    images_per_step: int
    accumulate: int
    recompute: bool | None


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(name="cpu", from_gib=0.0, objects_per_step=6, images_per_step=1, accumulate=1, recompute=None),
        Preset(name="8gb", from_gib=0.0, objects_per_step=8, images_per_step=2, accumulate=2, recompute=True),
        Preset(name="24gb", from_gib=20.0, objects_per_step=12, images_per_step=4, accumulate=1, recompute=True),
        Preset(name="80gb", from_gib=70.0, objects_per_step=12, images_per_step=4, accumulate=1, recompute=False),
    )
}


def preset_for(name: str, *, device_gib: float | None) -> Preset:
    """The preset of this name; `auto` chooses the largest for a GPU with `device_gib` of memory (None: no GPU)."""
    if name != "auto":
        return PRESETS[name]
    if device_gib is None:
        return PRESETS["cpu"]
    return [preset for preset in PRESETS.values() if preset.name != "cpu" and preset.from_gib <= device_gib][-1]


def config_of(settings: Settings) -> TrainConfig:
    """The recipe with the values of the settings.

    Raises:
        SettingsError: a step has more parts than images.
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
        tiles=settings.training.tiles,
        replay=settings.training.replay,
        forgetting=settings.training.forgetting,
        outside=settings.training.outside,
        annotators=settings.training.annotators,
        rectangles_are_masks=settings.training.rectangle_masks,
        specks_px=settings.serving.specks_px,
        merged_regions=settings.training.merged_regions,
    )
    return with_preset(recipe, settings)


def with_preset(config: TrainConfig, settings: Settings) -> TrainConfig:
    """The recipe with the sizes of the settings' preset; sizes that the settings give themselves take precedence.

    Raises:
        SettingsError: a step has more parts than images.
    """
    device = resolve_device(settings.sam.device)
    gib = torch.cuda.get_device_properties(device).total_memory / 2**30 if device.type == "cuda" else None
    preset = preset_for(settings.training.preset, device_gib=gib)
    images = settings.training.images_per_step or preset.images_per_step
    if settings.training.accumulate and settings.training.accumulate > images:
        raise SettingsError(
            f"SAMLOOP_ACCUMULATE={settings.training.accumulate} parts are more than the "
            f"{write_amount(images, 'image')} of a step (SAMLOOP_IMAGES_PER_STEP, or the preset {preset.name}): "
            f"set it to at most {images}"
        )
    return replace(
        config,
        objects_per_step=settings.training.objects_per_step or preset.objects_per_step,
        images_per_step=images,
        accumulate=settings.training.accumulate or min(preset.accumulate, images),
        recompute=config.recompute if preset.recompute is None else preset.recompute,
    )


def peak_mib() -> int:
    """The peak memory of this process, in MiB: of the GPU if it used one, else of the machine."""
    if torch.cuda.is_available() and (most := torch.cuda.max_memory_reserved()):
        return int(most >> 20)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most >> 20 if sys.platform == "darwin" else most >> 10)
