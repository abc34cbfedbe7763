"""Exported state dicts hold what segment-anything and MobileSAM load strictly: each name, each shape, and none besides.

The names are written down here from those architectures, part by part, and share nothing with the code under test.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, SamConfig, SamHQConfig, SamHQModel, SamModel

from backend.errors import BadInput
from backend.sam.adapters.conv_lora import attach_conv_lora
from backend.sam.families import mobile, original, sam_hq
from backend.sam.families.mobile import MobileSamModel, mobile_sam_from_pt, transformers_names
from backend.sam.families.vit import FAMILY as SAM
from backend.sam.family import Family
from tests.support.original_names import read_shapes

Shapes = Iterator[tuple[str, tuple[int, ...]]]
# ViT-B, ViT-L and ViT-H.
SIZES: tuple[Mapping[str, Any], ...] = (
    {"width": 768, "depth": 12, "heads": 12, "whole": (2, 5, 8, 11)},
    {"width": 1024, "depth": 24, "heads": 16, "whole": (5, 11, 17, 23)},
    {"width": 1280, "depth": 32, "heads": 16, "whole": (7, 15, 23, 31)},
)


def linear(name: str, inward: int, outward: int) -> Shapes:
    yield f"{name}.weight", (outward, inward)
    yield f"{name}.bias", (outward,)


def norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def convolution(name: str, *weight: int, bias: int | None = None) -> Shapes:
    yield f"{name}.weight", weight
    if bias is not None:
        yield f"{name}.bias", (bias,)


def normed(name: str, *weight: int) -> Shapes:
    """TinyViT's convolution without bias, and the BatchNorm behind it."""
    yield f"{name}.c.weight", weight
    yield from norm(f"{name}.bn", weight[0])
    yield f"{name}.bn.running_mean", (weight[0],)
    yield f"{name}.bn.running_var", (weight[0],)
    yield f"{name}.bn.num_batches_tracked", ()


def neck(width: int, channels: int) -> Shapes:
    yield from convolution("image_encoder.neck.0", channels, width, 1, 1)
    yield from norm("image_encoder.neck.1", channels)
    yield from convolution("image_encoder.neck.2", channels, channels, 3, 3)
    yield from norm("image_encoder.neck.3", channels)


def prompts_and_decoder(c: int, *, layers: int, mlp: int, masks_in: int, head: int) -> Shapes:
    prompt, decoder = "prompt_encoder", "mask_decoder"
    yield f"{prompt}.pe_layer.positional_encoding_gaussian_matrix", (2, c // 2)
    for number in range(4):
        yield f"{prompt}.point_embeddings.{number}.weight", (1, c)
    yield f"{prompt}.not_a_point_embed.weight", (1, c)
    yield f"{prompt}.no_mask_embed.weight", (1, c)
    few = masks_in // 4
    yield from convolution(f"{prompt}.mask_downscaling.0", few, 1, 2, 2, bias=few)
    yield from norm(f"{prompt}.mask_downscaling.1", few)
    yield from convolution(f"{prompt}.mask_downscaling.3", masks_in, few, 2, 2, bias=masks_in)
    yield from norm(f"{prompt}.mask_downscaling.4", masks_in)
    yield from convolution(f"{prompt}.mask_downscaling.6", c, masks_in, 1, 1, bias=c)

    def attention(name: str, inner: int) -> Shapes:
        for projection in "qkv":
            yield from linear(f"{name}.{projection}_proj", c, inner)
        yield from linear(f"{name}.out_proj", inner, c)

    for number in range(layers):
        layer = f"{decoder}.transformer.layers.{number}"
        yield from attention(f"{layer}.self_attn", c)
        yield from attention(f"{layer}.cross_attn_token_to_image", c // 2)
        yield from attention(f"{layer}.cross_attn_image_to_token", c // 2)
        for which in range(1, 5):
            yield from norm(f"{layer}.norm{which}", c)
        yield from linear(f"{layer}.mlp.lin1", c, mlp)
        yield from linear(f"{layer}.mlp.lin2", mlp, c)
    yield from attention(f"{decoder}.transformer.final_attn_token_to_image", c // 2)
    yield from norm(f"{decoder}.transformer.norm_final_attn", c)
    yield f"{decoder}.iou_token.weight", (1, c)
    yield f"{decoder}.mask_tokens.weight", (4, c)
    yield from convolution(f"{decoder}.output_upscaling.0", c, c // 4, 2, 2, bias=c // 4)
    yield from norm(f"{decoder}.output_upscaling.1", c // 4)
    yield from convolution(f"{decoder}.output_upscaling.3", c // 4, c // 8, 2, 2, bias=c // 8)
    for number in range(4):
        mlp_name = f"{decoder}.output_hypernetworks_mlps.{number}.layers"
        for step, outward in enumerate((c, c, c // 8)):
            yield from linear(f"{mlp_name}.{step}", c, outward)
    for step, (inward, outward) in enumerate(((c, head), (head, head), (head, 4))):
        yield from linear(f"{decoder}.iou_prediction_head.layers.{step}", inward, outward)


def vit(*, width: int, depth: int, heads: int, mlp: int, window: int, whole: tuple[int, ...], channels: int) -> Shapes:
    """segment-anything's ImageEncoderViT at 1024 px with patches of 16."""
    yield "image_encoder.pos_embed", (1, 64, 64, width)
    yield from convolution("image_encoder.patch_embed.proj", width, 3, 16, 16, bias=width)
    for number in range(depth):
        block, side = f"image_encoder.blocks.{number}", 64 if number in whole else window
        yield from norm(f"{block}.norm1", width)
        for axis in "hw":
            yield f"{block}.attn.rel_pos_{axis}", (2 * side - 1, width // heads)
        yield from linear(f"{block}.attn.qkv", width, 3 * width)
        yield from linear(f"{block}.attn.proj", width, width)
        yield from norm(f"{block}.norm2", width)
        yield from linear(f"{block}.mlp.lin1", width, mlp)
        yield from linear(f"{block}.mlp.lin2", mlp, width)
    yield from neck(width, channels)


def tiny_vit() -> Shapes:
    """MobileSAM's TinyViT(embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2]) with its unused classifier."""
    e = "image_encoder"
    widths = (64, 128, 160, 320)
    yield from normed(f"{e}.patch_embed.seq.0", 32, 3, 3, 3)
    yield from normed(f"{e}.patch_embed.seq.2", 64, 32, 3, 3)
    for stage, (width, depth, heads, window) in enumerate(
        zip(widths, (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7), strict=True)
    ):
        for number in range(depth):
            block = f"{e}.layers.{stage}.blocks.{number}"
            if stage == 0:
                yield from normed(f"{block}.conv1", 4 * width, width, 1, 1)
                yield from normed(f"{block}.conv2", 4 * width, 1, 3, 3)
                yield from normed(f"{block}.conv3", width, 4 * width, 1, 1)
                continue
            yield f"{block}.attn.attention_biases", (heads, window**2)
            yield from norm(f"{block}.attn.norm", width)
            yield from linear(f"{block}.attn.qkv", width, 3 * width)
            yield from linear(f"{block}.attn.proj", width, width)
            yield from norm(f"{block}.mlp.norm", width)
            yield from linear(f"{block}.mlp.fc1", width, 4 * width)
            yield from linear(f"{block}.mlp.fc2", 4 * width, width)
            yield from normed(f"{block}.local_conv", width, 1, 3, 3)
        if stage < 3:
            wider, down = widths[stage + 1], f"{e}.layers.{stage}.downsample"
            yield from normed(f"{down}.conv1", wider, width, 1, 1)
            yield from normed(f"{down}.conv2", wider, 1, 3, 3)
            yield from normed(f"{down}.conv3", wider, wider, 1, 1)
    yield from norm(f"{e}.norm_head", 320)
    yield from linear(f"{e}.head", 320, 1000)
    yield from neck(320, 256)


def added_by_sam_hq(c: int, *, width: int) -> Shapes:
    """What SAM-HQ's MaskDecoderHQ has beside SAM's; `width` of the ViT's tokens."""
    decoder = "mask_decoder"
    yield f"{decoder}.hf_token.weight", (1, c)
    for step, outward in enumerate((c, c, c // 8)):
        yield from linear(f"{decoder}.hf_mlp.layers.{step}", c, outward)
    for name, inward, middle in (("compress_vit_feat", width, c), ("embedding_encoder", c, c // 4)):
        yield from convolution(f"{decoder}.{name}.0", inward, middle, 2, 2, bias=middle)
        yield from norm(f"{decoder}.{name}.1", middle)
        yield from convolution(f"{decoder}.{name}.3", middle, c // 8, 2, 2, bias=c // 8)
    yield from convolution(f"{decoder}.embedding_maskfeature.0", c // 4, c // 8, 3, 3, bias=c // 4)
    yield from norm(f"{decoder}.embedding_maskfeature.1", c // 4)
    yield from convolution(f"{decoder}.embedding_maskfeature.3", c // 8, c // 4, 3, 3, bias=c // 8)


def shapes_of(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def test_a_vit_exports_each_of_segment_anythings_names_with_its_shape(tiny_sam_dir: str) -> None:
    model = SamModel.from_pretrained(tiny_sam_dir)
    expected = dict(vit(width=16, depth=2, heads=2, mlp=32, window=8, whole=(), channels=32))
    expected |= dict(prompts_and_decoder(32, layers=1, mlp=32, masks_in=16, head=32))
    assert shapes_of(SAM.original(model).state) == expected


def test_vit_b_exports_the_314_tensors_that_metas_checkpoint_has() -> None:
    """On the meta device: names and shapes alone. 314 is the number in sam_vit_b_01ec64.pth."""
    with torch.device("meta"):
        model = SamModel(SamConfig())
    expected = dict(vit(width=768, depth=12, heads=12, mlp=3072, window=14, whole=(2, 5, 8, 11), channels=256))
    expected |= dict(prompts_and_decoder(256, layers=2, mlp=2048, masks_in=16, head=256))
    assert shapes_of(_names_alone(model)) == expected
    assert len(expected) == 314


@pytest.mark.parametrize("size", SIZES)
def test_sam_hq_exports_the_names_that_its_published_checkpoints_have_and_reads_them_back(
    size: Mapping[str, Any],
) -> None:
    """On the meta device: names and shapes alone, of SAM-HQ's own build_sam.py."""
    vision = {
        "hidden_size": size["width"],
        "num_hidden_layers": size["depth"],
        "num_attention_heads": size["heads"],
        "global_attn_indexes": list(size["whole"]),
    }
    with torch.device("meta"):
        model = SamHQModel(SamHQConfig(vision_config=vision, mask_decoder_config={"vit_dim": size["width"]}))
    expected = dict(vit(**size, mlp=4 * size["width"], window=14, channels=256))
    expected |= dict(prompts_and_decoder(256, layers=2, mlp=2048, masks_in=16, head=256))
    expected |= dict(added_by_sam_hq(256, width=size["width"]))
    state = _names_alone(model, family=sam_hq.FAMILY)
    assert shapes_of(state) == expected
    ours = transformers_names(state, encoder_names=(*original.ENCODER_NAMES, *sam_hq.FROM_ORIGINAL))
    assert shapes_of(ours) == shapes_of(dict(model.state_dict()))


@pytest.mark.parametrize("size", ["b", "l", "h"])
@pytest.mark.parametrize("family", [SAM, sam_hq.FAMILY], ids=["sam", "sam_hq"])
def test_public_checkpoints_have_the_names_that_are_written_down_here(family: Family, size: str) -> None:
    numbers = SIZES["blh".index(size)]
    expected = dict(vit(**numbers, mlp=4 * numbers["width"], window=14, channels=256))
    expected |= dict(prompts_and_decoder(256, layers=2, mlp=2048, masks_in=16, head=256))
    if family is sam_hq.FAMILY:
        expected |= dict(added_by_sam_hq(256, width=numbers["width"]))
    assert read_shapes(f"{family.name.replace('-', '_')}_vit_{size}") == expected


def test_mobile_sams_public_checkpoint_has_the_names_that_are_written_down_here() -> None:
    expected = dict(tiny_vit()) | dict(prompts_and_decoder(256, layers=2, mlp=2048, masks_in=16, head=256))
    assert read_shapes("mobile_sam") == expected


def _names_alone(model: PreTrainedModel, *, family: Family = SAM) -> dict[str, Tensor]:
    """The state with empty tensors: 375 MB of zeros need not be copied for their shapes."""
    empty = {name: torch.empty(()).expand(value.shape) for name, value in model.state_dict().items()}
    model.state_dict = lambda: empty  # type: ignore[method-assign]
    return dict(family.original(model).state)


def test_mobile_sam_exports_each_of_its_original_names_with_its_shape(random_mobile_sam: MobileSamModel) -> None:
    expected = dict(tiny_vit()) | dict(prompts_and_decoder(256, layers=2, mlp=2048, masks_in=16, head=256))
    assert shapes_of(mobile.FAMILY.original(random_mobile_sam).state) == expected


def test_what_mobile_sam_exports_is_read_back_as_the_very_same_weights(random_mobile_sam: MobileSamModel) -> None:
    again = mobile_sam_from_pt(mobile.FAMILY.original(random_mobile_sam).state).state_dict()
    for name, value in random_mobile_sam.state_dict().items():
        torch.testing.assert_close(again[name], value, rtol=2e-7, atol=0)


def test_a_batch_norm_behind_an_exported_convolution_changes_nothing_but_adds_the_bias(
    random_mobile_sam: MobileSamModel,
) -> None:
    """With PyTorch's own BatchNorm2d in evaluation, as MobileSAM's Conv2d_BN applies it."""
    state, stem = mobile.FAMILY.original(random_mobile_sam).state, "image_encoder.patch_embed.seq.0"
    original = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)).eval()
    original[0].load_state_dict({"weight": state[f"{stem}.c.weight"]})
    original[1].load_state_dict({name.rpartition(".")[2]: v for name, v in state.items() if f"{stem}.bn." in name})
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ours = random_mobile_sam.vision_encoder.patch_embed.conv1(image)
        torch.testing.assert_close(original(image), ours, rtol=1e-6, atol=1e-6)


def test_conv_lora_has_no_names_there_and_says_what_to_do_instead(tiny_sam_dir: str) -> None:
    model = SamModel.from_pretrained(tiny_sam_dir)
    attach_conv_lora(model.vision_encoder, places=SAM.places(model.vision_encoder))
    with pytest.raises(BadInput, match=r"Conv-LoRA cannot be exported as hf or sam.*--format onnx.*--method lora"):
        SAM.original(model)
