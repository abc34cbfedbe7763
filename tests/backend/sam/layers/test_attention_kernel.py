"""The GPU's kernel computes what SAM's attention computes, with windows over the edge; skipped without a GPU."""

import copy

import pytest
import torch
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from backend.sam.layers.fused_attention import build_kernel, fuse_attention

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(("heads", "width"), [(3, 64), (2, 80), (2, 16)])
def test_an_encoder_with_the_kernel_computes_what_transformers_computes(heads: int, width: int) -> None:
    torch.manual_seed(0)
    config = SamVisionConfig(
        hidden_size=heads * width,
        output_channels=16,
        num_hidden_layers=3,
        num_attention_heads=heads,
        image_size=256,
        mlp_dim=32,
        window_size=7,
        global_attn_indexes=[1],
    )
    plain = SamVisionEncoder(config).eval().requires_grad_(requires_grad=False)
    for name, weight in plain.named_parameters():
        if "rel_pos" in name or "pos_embed" in name or name.endswith("qkv.bias"):
            weight.normal_()
    ours = copy.deepcopy(plain)
    fuse_attention(ours)
    pixels = torch.randn(2, 3, 256, 256, device="cuda")
    ours.to("cuda", torch.bfloat16)
    plain.to("cuda")

    assert build_kernel(pixels.device, torch.bfloat16, 7, width) is not None
    assert build_kernel(pixels.device, torch.bfloat16, 16, width) is not None
    with torch.no_grad():
        expected = plain(pixels).last_hidden_state
        made = ours(pixels.bfloat16()).last_hidden_state.float()
        rounded = plain.bfloat16()(pixels.bfloat16()).last_hidden_state.float()

    # No farther from float32 than transformers' own layers in bfloat16 are.
    assert (made - expected).norm() <= 1.2 * (rounded - expected).norm()
