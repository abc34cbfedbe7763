"""A bitmask holds every pixel."""

import numpy as np
import pytest

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.bitmask import SHAPE

SIZE = Size(height_px=6, width_px=8)


def test_a_mask_comes_back_to_the_pixel() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=5.0)
    assert np.array_equal(SHAPE.read(value, SIZE), mask)


def test_a_bitmask_of_another_size_is_refused_by_its_header() -> None:
    (value,) = SHAPE.write(np.ones((3, 4), bool), tolerance_px=0.0)
    with pytest.raises(UnusableRegion, match="4x3 pixels, not 8x6"):
        SHAPE.read(value, SIZE)
