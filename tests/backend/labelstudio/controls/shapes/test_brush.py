"""A brush holds every pixel."""

import numpy as np
import pytest

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.brush import SHAPE

SIZE = Size(height_px=6, width_px=8)


def test_a_mask_comes_back_to_the_pixel() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=5.0)
    assert np.array_equal(SHAPE.read(value, SIZE), mask)


@pytest.mark.parametrize("value", [{}, {"format": "png", "rle": []}, {"points": []}])
def test_another_format_is_refused(value: dict) -> None:
    with pytest.raises(UnusableRegion, match="rle format"):
        SHAPE.read(value, SIZE)
