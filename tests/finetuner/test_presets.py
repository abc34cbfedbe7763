"""A preset decides the size of steps by the device's memory; what the user sets comes first; memory is stated."""

from dataclasses import dataclass

import pytest
import torch
from transformers import SamVisionConfig
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamVisionEncoder

from backend.errors import SettingsError
from backend.masks.prompt import Click, Prompt
from backend.sam.decoder import decode_all
from backend.sam.family import Decoded, DecoderInputs
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.presets import PRESETS, Preset, config_of, peak_mib, preset_for, with_preset
from finetuner.training.rounds import decode_losses

# What autograd keeps of one prompt in the decoder, losses included.
DECODE_MIB = {"bfloat16": 33.0, "float32": 63.0}
_BACK = 1.5  # gradients on the way back, beside what is kept
_DECODER = 4_058_340  # parameters; in float32 the base's, and seven of those that are trained
_CELLS = 64 * 64
_BLOCK = 16  # maps of a block's width that autograd keeps of it: norms, qkv, attention, both sides of the MLP's GELU
_OWN_MIB = 600.0  # CUDA's context and libraries


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


@pytest.mark.parametrize(
    ("gib", "name"), [(None, "cpu"), (6.0, "8gb"), (15.9, "8gb"), (23.6, "24gb"), (47.0, "24gb"), (79.2, "80gb")]
)
def test_auto_goes_by_the_memory_of_the_device(gib: float | None, name: str) -> None:
    assert preset_for("auto", device_gib=gib).name == name
    assert preset_for("80gb", device_gib=gib).name == "80gb"


def test_without_a_gpu_the_recipe_stays_as_it_is() -> None:
    assert with_preset(TrainConfig(), Settings(device="cpu")) == TrainConfig()


def test_held_out_masks_lose_the_specks_that_served_masks_lose() -> None:
    assert config_of(Settings(device="cpu")).specks_px == Settings().serving.specks_px > 0
    assert config_of(Settings(device="cpu", specks_px=7)).specks_px == 7


def test_what_the_user_sets_comes_before_the_preset() -> None:
    settings = Settings(device="cpu", preset="24gb", objects_per_step=3)
    config = with_preset(TrainConfig(), settings)
    assert (config.objects_per_step, config.images_per_step, config.accumulate) == (3, 4, 1)
    config = with_preset(TrainConfig(), settings.replace(preset="8gb", images_per_step=1))
    assert (config.images_per_step, config.accumulate) == (1, 1)  # the preset's two parts would be one too many
    config = with_preset(TrainConfig(), settings.replace(images_per_step=6, accumulate=3))
    assert (config.images_per_step, config.accumulate) == (6, 3)


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"SAMLOOP_ACCUMULATE=5 parts are more than the 2 images of a step.*preset 8gb"
    ):
        with_preset(TrainConfig(), Settings(device="cpu", preset="8gb", accumulate=5))


@pytest.mark.parametrize("name", ["8gb", "24gb", "80gb"])
def test_each_preset_fits_the_gpu_that_it_is_for(name: str) -> None:
    """With the largest encoder that fits: on 8 GB ViT-B with an adapter, else ViT-H with one; a tenth is left free."""
    encoder = ENCODERS["sam-vit-base" if name == "8gb" else "sam-vit-huge"]
    need_mib = computed_mib(PRESETS[name], encoder=encoder, adapts=True)
    assert 1024 < need_mib < 0.9 * 1024 * float(name.removesuffix("gb"))
    assert computed_mib(PRESETS[name], encoder=encoder, adapts=False) < need_mib
    assert computed_mib(PRESETS[name], encoder=encoder, adapts=True, precision="float32") > need_mib


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_are_as_large_as_stated(name: str) -> None:
    stated = ENCODERS[name]
    with torch.device("meta"):
        encoder = SamVisionEncoder(
            SamVisionConfig(hidden_size=stated.width, num_hidden_layers=stated.depth, num_attention_heads=stated.heads)
        )
        decoder = SamMaskDecoder(SamMaskDecoderConfig())
    assert sum(weight.numel() for weight in encoder.parameters()) == stated.parameters
    assert sum(weight.numel() for weight in decoder.parameters()) == _DECODER


@pytest.mark.parametrize("precision", DECODE_MIB)
def test_a_prompt_keeps_as_much_as_stated(precision: str) -> None:
    """What autograd saves of two prompts, less what it saves of one: SAM's decoder at its size."""
    kept = [_saved_mib(prompts, dtype=getattr(torch, precision)) for prompts in (1, 2)]
    assert kept[1] - kept[0] == pytest.approx(DECODE_MIB[precision], rel=0.1)


def _saved_mib(prompts: int, *, dtype: torch.dtype) -> float:
    torch.manual_seed(0)
    decoder = SamMaskDecoder(SamMaskDecoderConfig()).to(dtype)
    own = {weight.untyped_storage().data_ptr() for weight in decoder.parameters()}
    found: dict[int, int] = {}

    def note(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        inputs = DecoderInputs(
            maps=(torch.randn(1, 256, 64, 64),),
            positions=torch.randn(1, 4096, 256),
            sparse=torch.randn(prompts, 2, 256),
            dense=torch.randn(1, 256, 1, 1),
        )
        logits, scores = decode_all(decoder, inputs)
        asked = [[Prompt(clicks=(Click(1.0, 1.0),))] * prompts]
        decoded = Decoded(logits=logits.float(), ious=scores.float())
        losses = decode_losses(decoded, torch.rand(prompts, 256, 256), prompts=asked, config=TrainConfig())
    assert losses.requires_grad  # and so alive till here
    return sum(found.values()) / 2**20


def test_the_memory_of_this_process_is_told_in_mib() -> None:
    before = peak_mib()
    held = torch.ones((before + 64) << 18)  # in float32: 64 MiB more than it ever had
    assert held.sum() > 0
    assert peak_mib() > before + 32
    assert peak_mib() < 64 << 10


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
