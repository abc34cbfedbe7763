"""The fused attention of SAM's ViT is transformers', in windows and over the whole image."""

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from backend.sam.layers import fused_attention as fused
from backend.sam.layers.fused_attention import FusedAttention, fuse_attention

pytestmark = pytest.mark.arithmetic


@pytest.fixture(scope="module")
def encoder() -> SamVisionEncoder:
    """Two layers in windows over the edge, one over all; relative positions as large as trained ones."""
    torch.manual_seed(0)
    config = SamVisionConfig(
        hidden_size=24,
        output_channels=16,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=160,
        mlp_dim=32,
        window_size=4,
        global_attn_indexes=[1],
    )
    encoder = SamVisionEncoder(config).eval().requires_grad_(requires_grad=False)
    for name, weight in encoder.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            weight.normal_()
    return encoder


@pytest.mark.parametrize("scores_at_once", [fused._SCORES_AT_ONCE, 700])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("learns", [True, False])
def test_an_encoder_with_fused_attention_computes_what_transformers_computes(
    encoder: SamVisionEncoder, monkeypatch: pytest.MonkeyPatch, batch: int, scores_at_once: int, learns: bool
) -> None:
    monkeypatch.setattr(fused, "_SCORES_AT_ONCE", scores_at_once)
    pixels = torch.randn(batch, 3, 160, 160)
    ours = copy.deepcopy(encoder)

    fuse_attention(ours)

    assert all(isinstance(layer.attn, FusedAttention) for layer in ours.layers)
    assert [layer.attn.window for layer in ours.layers] == [4, 0, 4]
    with torch.set_grad_enabled(learns):
        made = ours(pixels).last_hidden_state
    torch.testing.assert_close(made, encoder(pixels).last_hidden_state, atol=2e-5, rtol=1e-4)


def test_what_a_gpu_runs_computes_the_same(encoder: SamVisionEncoder) -> None:
    attention = FusedAttention(encoder.layers[0].attn)
    qkv = torch.randn(5, 4, 4, 3, 3, 8)

    torch.testing.assert_close(attention._together(qkv), attention._one_by_one(qkv))


def test_the_weights_keep_their_names(encoder: SamVisionEncoder) -> None:
    ours = copy.deepcopy(encoder)

    fuse_attention(ours)

    assert ours.state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_a_gpu_whose_kernel_cannot_be_had_or_computes_something_else_uses_the_plain_layers(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def attend(qkv: torch.Tensor, *others: object, **more: object) -> torch.Tensor:
        return qkv.chunk(3, dim=-1)[2] * 1.1

    stand_in = None if fault == "missing" else SimpleNamespace(attend=attend)
    monkeypatch.setitem(sys.modules, "backend.sam.layers.attention_kernel", stand_in)

    assert fused.build_kernel.__wrapped__(torch.device("cpu"), torch.bfloat16, 5, 16) is None
    assert "without its kernel" in caplog.text


def test_float32_has_no_kernel() -> None:
    assert fused.build_kernel(torch.device("cpu"), torch.float32, 5, 16) is None
