"""What an accelerator does between image and masks equals what a processor does; here on the processor itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.sam.canvas import mask_of_logits, pixels_on_canvas
from backend.sam.frame import SAM_FRAME
from backend.sam.layers.on_device import masks_on_device, pack_rows, pixels_on_device

HERE = torch.device("cpu")
SIZES = [(512, 512), (480, 640), (1333, 777), (37, 2001), (3000, 2000), (1, 1), (5, 3000), (768, 1024)]


def smooth_logits(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.randn(count, 1, 20, 20), size=256, mode="bicubic")[:, 0]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_colours_are_within_one_grey_level_of_pillows(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))

    ours = pixels_on_device(image, frame=SAM_FRAME, device=HERE)

    grey_level = 1 / torch.tensor(SAM_FRAME.std)[:, None, None]
    differences = (ours - pixels_on_canvas(image, frame=SAM_FRAME)).abs() / grey_level
    assert differences.max() <= 1.001
    assert differences.mean() < 0.3  # Pillow rounds between its two passes too


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_any_mode_that_converts_to_rgb_is_taken(mode: str) -> None:
    image = Image.new("RGB", (30, 20), (200, 100, 50)).convert("L" if mode == "I;16" else mode)
    image = image.convert("I;16") if mode == "I;16" else image

    ours = pixels_on_device(image, frame=SAM_FRAME, device=HERE)

    torch.testing.assert_close(ours, pixels_on_canvas(image, frame=SAM_FRAME), atol=1 / 57, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_are_those_of_the_processor(height: int, width: int) -> None:
    logits = smooth_logits(3)

    masks = list(masks_on_device(logits, frame=SAM_FRAME, height_px=height, width_px=width))

    assert len(masks) == 3
    for mask, alone in zip(masks, logits, strict=True):
        expected = mask_of_logits(alone, frame=SAM_FRAME, height_px=height, width_px=width)
        assert mask.shape == (height, width)
        assert (mask & expected).sum() >= 0.999 * (mask | expected).sum()


def test_many_masks_of_a_large_image_come_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    split = torch.split

    def noting(maps: torch.Tensor, at_once: int) -> tuple[torch.Tensor, ...]:
        sizes.append(at_once)
        return split(maps, at_once)

    monkeypatch.setattr(torch, "split", noting)

    assert len(list(masks_on_device(smooth_logits(5), frame=SAM_FRAME, height_px=9000, width_px=9000))) == 5
    assert sizes == [1]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), count=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 40))
def test_packed_rows_unpack_to_what_they_were(seed: int, count: int, height: int, width: int) -> None:
    masks = np.random.default_rng(seed).random((count, height, width)) < 0.5

    packed = pack_rows(torch.from_numpy(masks)).numpy()

    assert np.array_equal(np.unpackbits(packed, axis=2, count=width).view(bool), masks)
