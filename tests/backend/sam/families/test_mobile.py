"""MobileSAM's weights come in under PyTorch's names as well, BatchNorms and all, and stay what they are on disk."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import BadWeights
from backend.sam.families.mobile import MobileSamModel, mobile_sam_from_pt

pytestmark = pytest.mark.arithmetic


@pytest.fixture
def model(random_mobile_sam: MobileSamModel) -> MobileSamModel:
    return random_mobile_sam


@pytest.fixture
def state(mobile_sam_pt: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(mobile_sam_pt)


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
    """Fails without the look at a base's numbers."""
    state["mask_decoder.iou_token.weight"] = torch.full((1, 256), float("nan"))

    with pytest.raises(BadWeights, match=r"mask_decoder\.iou_token\.weight not finite"):
        mobile_sam_from_pt(state)


@pytest.mark.parametrize("content", [[], {"model": {}}, None])
def test_a_file_that_holds_something_else_is_refused(content: object) -> None:
    with pytest.raises(BadWeights, match="holds no state dict"):
        mobile_sam_from_pt(content)
