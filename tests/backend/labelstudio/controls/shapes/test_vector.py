"""A vector that is closed is the outline of a mask, with the curves that the editor draws; an open vector is a line."""

from typing import Any

import numpy as np
import pytest

from backend.errors import UnusableRegion
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes.vector import SHAPE

SIZE = Size(height_px=50, width_px=100)
CORNERS = {"a": (20.0, 20.0), "b": (60.0, 20.0), "c": (60.0, 80.0), "d": (20.0, 80.0)}
ORDER = "abcd"


def vertices(order: str = ORDER, **curves: dict[str, Any]) -> list[dict[str, Any]]:
    """The corners as the editor saves them, listed in this order; every corner names the corner before it."""
    return [
        {
            "id": name,
            "prevPointId": ORDER[ORDER.index(name) - 1] if name != "a" else None,
            "x": CORNERS[name][0],
            "y": CORNERS[name][1],
            "isBezier": name in curves,
            **curves.get(name, {}),
        }
        for name in order
    ]


def square() -> np.ndarray:
    mask = np.zeros((50, 100), bool)
    mask[10:40, 20:60] = True
    return mask


def test_a_vector_is_no_prompt_and_gets_no_masks() -> None:
    assert (SHAPE.write, SHAPE.point) == (None, None)
    assert region_of({"type": "vectorlabels", "value": {"vertices": []}}).shape is SHAPE


@pytest.mark.parametrize("order", ["abcd", "acbd", "dcba"])
def test_a_closed_vector_is_filled_along_its_ids_however_its_vertices_are_listed(order: str) -> None:
    assert np.array_equal(SHAPE.read({"closed": True, "vertices": vertices(order)}, SIZE), square())


def test_without_ids_the_vertices_are_joined_as_they_are_listed() -> None:
    listed = [{"x": x, "y": y} for x, y in CORNERS.values()]
    assert np.array_equal(SHAPE.read({"closed": True, "vertices": listed}, SIZE), square())


def test_a_curve_bulges_towards_its_control_points() -> None:
    right = {
        "b": {"controlPoint1": {"x": 60, "y": 20}, "controlPoint2": {"x": 80, "y": 20}},
        "c": {"controlPoint1": {"x": 80, "y": 80}, "controlPoint2": {"x": 60, "y": 80}},
    }
    mask = SHAPE.read({"closed": True, "vertices": vertices(**right)}, SIZE)
    # Halfway, a cubic curve has three quarters of its control points' distance: 15 % of the width.
    assert np.flatnonzero(mask[25]).max() == 74
    assert np.array_equal(mask[:, :60], square()[:, :60])
    only_leaving = SHAPE.read({"closed": True, "vertices": vertices(b=right["b"])}, SIZE)
    assert square().sum() < only_leaving.sum() < mask.sum()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"vertices": vertices()}, "an open line"),
        ({"closed": False, "vertices": vertices()}, "an open line"),
        ({"closed": True, "vertices": vertices("ab")}, "not a list of 3 to"),
        ({"closed": True, "vertices": [1, 2, 3]}, "not a vertex"),
    ],
)
def test_what_is_no_outline_is_refused(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRegion, match=reason):
        SHAPE.read(value, SIZE)
