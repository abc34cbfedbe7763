"""An ellipse is read, written, and pointed with as its box and its inside."""

import numpy as np
import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.ellipse import SHAPE
from backend.masks.metrics import iou
from backend.masks.prompt import Box

SIZE = Size(height_px=100, width_px=200)
ROUND = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0}


def test_what_it_writes_of_an_ellipse_reads_as_that_ellipse() -> None:
    mask = SHAPE.read(ROUND | {"rotation": 30}, SIZE)
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    assert iou(SHAPE.read(value, SIZE), mask) > 0.97


def test_a_radius_below_0_counts_as_its_length() -> None:
    assert np.array_equal(SHAPE.read(ROUND | {"radiusX": -10}, SIZE), SHAPE.read(ROUND, SIZE))


def test_it_points_with_its_box_and_its_inside() -> None:
    pointing = SHAPE.point(ROUND, SIZE, is_foreground=True)
    assert (pointing.box, pointing.has_outline) == (Box(80.0, 30.0, 120.0, 70.0), True)
    with pytest.raises(BadInput, match="radius of 0"):
        SHAPE.point(ROUND | {"radiusY": 0}, SIZE, is_foreground=True)
