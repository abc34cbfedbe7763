"""A polygon holds an outline, one region for every part of a mask."""

import numpy as np
import pytest

from backend.errors import BadInput, UnusableRegion
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.polygon import SHAPE

SIZE = Size(height_px=6, width_px=8)


def test_every_part_of_a_mask_is_a_polygon_and_they_cover_it() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:5, 1:3] = mask[1:5, 5:8] = True
    values = SHAPE.write(mask, tolerance_px=0.0)
    assert len(values) == 2
    assert np.array_equal(np.logical_or.reduce([SHAPE.read(value, SIZE) for value in values]), mask)


def test_a_point_may_be_written_by_its_names() -> None:
    pairs = [[0, 0], [100, 0], [100, 50], [0, 50]]
    named = [{"x": x, "y": y, "id": "p"} for x, y in pairs]
    assert np.array_equal(SHAPE.read({"points": named}, SIZE), SHAPE.read({"points": pairs}, SIZE))
    with pytest.raises(BadInput, match="y is NoneType"):
        SHAPE.read({"points": [*named, {"x": 1}]}, SIZE)


@pytest.mark.parametrize("points", [None, [[0, 0], [9, 9]], [[0, 0], [9, 0], [9]]])
def test_what_is_no_outline_is_refused(points: object) -> None:
    with pytest.raises(UnusableRegion, match="its polygon"):
        SHAPE.read({"points": points}, SIZE)
