"""A keypoint is a click and never a mask."""

import pytest

from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.keypoint import SHAPE
from backend.masks.prompt import Click


@pytest.mark.parametrize("is_foreground", [True, False])
def test_it_points_with_one_click(is_foreground: bool) -> None:
    pointing = SHAPE.point({"x": 25, "y": 50}, Size(height_px=100, width_px=200), is_foreground=is_foreground)
    assert pointing.clicks == (Click(50.0, 50.0, is_foreground=is_foreground),)
    assert (SHAPE.read, SHAPE.write, SHAPE.is_mask) == (None, None, False)
