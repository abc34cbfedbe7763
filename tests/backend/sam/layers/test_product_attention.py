"""Attention in products gives what PyTorch's own kernel gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_bases import write_small_base
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from backend.sam.layers.product_attention import attend
from backend.sam.loading import load_base

pytestmark = pytest.mark.arithmetic


def _draw(*, heads: int = 3, queries: int = 7, keys: int = 9, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """Queries, keys and values of two maps, each head's rows apart in memory as a projection leaves them."""
    torch.manual_seed(0)
    return [torch.randn(2, rows, heads, 16).to(dtype).transpose(1, 2) for rows in (queries, keys, keys)]


@pytest.mark.parametrize("scaling", [None, 0.5])
@pytest.mark.parametrize(
    ("heads", "queries", "keys"),
    [(3, 7, 9), (3, 600, 700), (1, 1100, 1200)],
    ids=["all heads at once", "some heads at once", "some queries at once"],
)
@torch.no_grad()
def test_it_is_pytorchs_kernel_but_for_rounding(heads: int, queries: int, keys: int, scaling: float | None) -> None:
    given = _draw(heads=heads, queries=queries, keys=keys)
    made, _ = attend(nn.Identity(), *given, None, scaling=scaling, is_causal=False)
    exact, _ = sdpa_attention_forward(
        nn.Identity(), *(part.float() for part in given), None, scaling=scaling, is_causal=False
    )
    assert made.shape == (2, queries, heads, 16)
    assert float((made - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize(
    ("dtype", "is_masked", "learns"),
    [(torch.float32, False, False), (torch.bfloat16, True, False), (torch.bfloat16, False, True)],
    ids=["float32", "a mask", "a gradient"],
)
def test_what_it_does_not_compute_the_kernel_computes(dtype: torch.dtype, is_masked: bool, learns: bool) -> None:
    given, mask = _draw(dtype=dtype), torch.ones(7, 9).tril().bool() if is_masked else None
    with torch.set_grad_enabled(learns):
        made, _ = attend(nn.Identity(), *given, mask, is_causal=False)
        expected, _ = sdpa_attention_forward(nn.Identity(), *given, mask, is_causal=False)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("family", ["sam2", "sam3-tracker"])
def test_encoders_use_it_and_save_the_config_that_they_had(family: str, tmp_path: Path) -> None:
    base = load_base(str(write_small_base(family, tmp_path / "base")), cache_dir=tmp_path, device="cpu")
    model: Any = base.model
    configs = [part.config for part in model.vision_encoder.modules() if hasattr(part, "config")]
    assert {config._attn_implementation for config in configs} == {"samloop-products"}
    model.save_pretrained(tmp_path / "saved")
    assert "samloop" not in (tmp_path / "saved" / "config.json").read_text()
