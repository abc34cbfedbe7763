"""A rectangle is a box, and its inside is a mask where one is asked for."""

import numpy as np
import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.rectangle import SHAPE
from backend.masks.prompt import Box

SIZE = Size(height_px=100, width_px=200)
VALUE = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


def test_what_it_writes_of_a_box_reads_as_that_box() -> None:
    mask = SHAPE.read(VALUE, SIZE)
    assert mask.sum() == 60 * 40
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    assert value == VALUE


def test_a_side_below_0_runs_to_the_other_side_of_the_corner() -> None:
    turned = {"x": 40, "y": 60, "width": -30, "height": -40, "rotation": 0}
    assert np.array_equal(SHAPE.read(turned, SIZE), SHAPE.read(VALUE, SIZE))
    assert SHAPE.point(turned, SIZE, is_foreground=True) == SHAPE.point(VALUE, SIZE, is_foreground=True)


def test_only_a_turned_one_points_with_its_inside_too() -> None:
    straight, turned = (SHAPE.point(VALUE | {"rotation": by}, SIZE, is_foreground=True) for by in (90, 30))
    assert (straight.has_outline, turned.has_outline) == (False, True)
    assert SHAPE.point(VALUE, SIZE, is_foreground=True).box == Box(20.0, 20.0, 80.0, 60.0)


def test_one_that_misses_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="no area in the image"):
        SHAPE.point(VALUE | {"x": 101}, SIZE, is_foreground=True)
