"""Masks are drawn prompt by prompt and only where somebody reads them, and are the same there."""

from typing import Any

import pytest
import torch
from transformers import SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

from backend.sam.family import NO_OBJECT
from backend.sam.layers.upscaling import upscale

SIDE = 8


@pytest.fixture(scope="module")
def decoder() -> SamMaskDecoder:
    torch.manual_seed(0)
    made: Any = SamMaskDecoder(SamConfig().mask_decoder_config).eval().requires_grad_(requires_grad=False)
    return made


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 3), (5, 8), (1, 1)])
@pytest.mark.parametrize("prompts", [1, 3])
def test_cells_that_an_image_reaches_are_drawn_as_in_the_whole(
    decoder: SamMaskDecoder, prompts: int, rows: int, columns: int
) -> None:
    torch.manual_seed(1)
    keys, hyper = torch.randn(prompts, SIDE * SIDE, 256), torch.randn(prompts, 4, 32)

    part = upscale(decoder, keys, hyper, reached=(rows, columns))

    whole = upscale(decoder, keys, hyper)
    assert part.shape == whole.shape == (prompts, 4, 4 * SIDE, 4 * SIDE)
    inside = part[..., : 4 * rows, : 4 * columns]
    torch.testing.assert_close(inside, whole[..., : 4 * rows, : 4 * columns], atol=1e-5, rtol=1e-5)
    beyond = part.clone()
    beyond[..., : 4 * rows, : 4 * columns] = NO_OBJECT
    assert (beyond == NO_OBJECT).all()


@pytest.mark.parametrize("shared", [True, False])
def test_a_prompt_gets_its_own_finer_maps(decoder: SamMaskDecoder, shared: bool) -> None:
    torch.manual_seed(1)
    keys, hyper, count = torch.randn(3, SIDE * SIDE, 256), torch.randn(3, 4, 32), 1 if shared else 3
    skips = [torch.randn(count, 64, 2 * SIDE, 2 * SIDE), torch.randn(count, 32, 4 * SIDE, 4 * SIDE)]

    together = upscale(decoder, keys, hyper, skips=skips)

    for row in range(3):
        own = [maps if shared else maps[row : row + 1] for maps in skips]
        alone = upscale(decoder, keys[row : row + 1], hyper[row : row + 1], skips=own)
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)
