"""MobileSAM's weights come in under PyTorch's names as well, BatchNorms and all, and stay what they are on disk."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import BadWeights
from backend.sam.mobile_sam import MobileSamModel, mobile_sam_config, mobile_sam_from_pt

# transformers' names back to those of mobile_sam.pt, written apart from the code under test.
ORIGINAL_NAMES = (
    (r"vision_encoder\.patch_embed\.conv1", "image_encoder.patch_embed.seq.0"),
    (r"vision_encoder\.patch_embed\.conv2", "image_encoder.patch_embed.seq.2"),
    (r"vision_encoder\.stages\.(.*)\.biases", r"image_encoder.layers.\1.attention_biases"),
    (r"vision_encoder\.stages", "image_encoder.layers"),
    (r"vision_encoder\.neck\.conv1", "image_encoder.neck.0"),
    (r"vision_encoder\.neck\.layer_norm1", "image_encoder.neck.1"),
    (r"vision_encoder\.neck\.conv2", "image_encoder.neck.2"),
    (r"vision_encoder\.neck\.layer_norm2", "image_encoder.neck.3"),
    (r"shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"transformer\.layer_norm_final_attn", "transformer.norm_final_attn"),
    (r"(transformer\.layers\.\d)\.layer_norm", r"\1.norm"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.proj_in", r"\1.layers.0"),
    (r"(hypernetworks_mlps\.\d|iou_prediction_head)\.proj_out", r"\1.layers.2"),
)


def original_state(model: MobileSamModel) -> dict[str, Tensor]:
    """What mobile_sam.pt would hold for these weights: its names, and BatchNorms with random statistics."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            continue
        for pattern, target in ORIGINAL_NAMES:
            name = re.sub(pattern, target, name)
        stem, _, part = name.rpartition(".")
        if not re.match(r"image_encoder\.(patch_embed|layers\..*(conv\d|local_conv)$)", stem):
            state[name] = value
        elif part == "weight":
            unfold(state, stem, value, model.state_dict()[_bias_of(model, value)])
    state["image_encoder.norm_head.weight"], state["image_encoder.norm_head.bias"] = torch.ones(320), torch.zeros(320)
    state["image_encoder.head.weight"], state["image_encoder.head.bias"] = torch.randn(1, 320), torch.zeros(1)
    return state


def _bias_of(model: MobileSamModel, weight: Tensor) -> str:
    name = next(name for name, value in model.state_dict().items() if value.data_ptr() == weight.data_ptr())
    return name.removesuffix("weight") + "bias"


def unfold(state: dict[str, Tensor], stem: str, weight: Tensor, bias: Tensor) -> None:
    """Put a convolution without bias and a BatchNorm where there is one convolution with bias."""
    channels = len(weight)
    gamma, mean, var = torch.rand(channels) + 0.5, torch.randn(channels), torch.rand(channels) + 0.1
    scale = gamma / torch.sqrt(var + 1e-5)
    state[f"{stem}.c.weight"] = weight / scale[:, None, None, None]
    state |= {
        f"{stem}.bn.weight": gamma,
        f"{stem}.bn.bias": bias + mean * scale,
        f"{stem}.bn.running_mean": mean,
        f"{stem}.bn.running_var": var,
        f"{stem}.bn.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture(scope="module")
def model() -> MobileSamModel:
    torch.manual_seed(0)
    model = MobileSamModel(mobile_sam_config()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape))
    return model


@pytest.fixture
def state(model: MobileSamModel) -> dict[str, Tensor]:
    return original_state(model)


def outputs(model: MobileSamModel) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(1, 3, 128, 128, generator=generator)
    features = torch.randn(1, 256, 64, 64, generator=generator)
    with torch.no_grad():
        seen = model.vision_encoder(pixels).last_hidden_state
        points = torch.tensor([[[[300.0, 400.0]]]])
        return seen, model(image_embeddings=features, input_points=points).pred_masks


def test_mobile_sam_pt_gives_the_same_embeddings_and_masks(model: MobileSamModel, state: dict[str, Tensor]) -> None:
    for got, expected in zip(outputs(mobile_sam_from_pt(state)), outputs(model), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_saved_and_loaded_it_is_the_same_model(model: MobileSamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)

    loaded = MobileSamModel.from_pretrained(tmp_path).eval()

    for got, expected in zip(outputs(loaded), outputs(model), strict=True):
        assert torch.equal(got, expected)
    assert loaded.config.architectures == ["MobileSamModel"]


def test_the_decoder_normalises_with_segment_anythings_epsilon(model: MobileSamModel) -> None:
    layer = model.mask_decoder.transformer.layers[0]

    assert {layer.layer_norm1.eps, layer.layer_norm4.eps} == {1e-5}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("image_encoder.layers.1.blocks.0.attn.attention_biases", "not MobileSAM's weights.*biases"),
        ("image_encoder.patch_embed.seq.0.bn.running_var", "seq.0.bn.running_var' is missing"),
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "not MobileSAM's weights.*positional"),
    ],
)
def test_a_file_without_one_of_the_weights_is_refused(state: dict[str, Tensor], name: str, sentence: str) -> None:
    del state[name]

    with pytest.raises(BadWeights, match=f"(?s){sentence}"):
        mobile_sam_from_pt(state)


def test_a_file_with_a_number_that_is_not_finite_is_refused(state: dict[str, Tensor]) -> None:
    state["mask_decoder.iou_token.weight"] = torch.full((1, 256), float("nan"))

    with pytest.raises(BadWeights, match=r"not finite: mask_decoder\.iou_token\.weight"):
        mobile_sam_from_pt(state)


@pytest.mark.parametrize("content", [[], {"model": {}}, None])
def test_a_file_that_holds_something_else_is_refused(content: object) -> None:
    with pytest.raises(BadWeights, match="holds no state dict"):
        mobile_sam_from_pt(content)
