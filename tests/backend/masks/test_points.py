"""Points that stand for a stroke lie on it, deep and apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.masks.points import points_along
from backend.masks.prompt import Click


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_every_point_lies_on_the_stroke(seed: int, most: int) -> None:
    generator = np.random.default_rng(seed)
    stroke = generator.random((generator.integers(1, 30), generator.integers(1, 30))) < generator.random()
    points = points_along(stroke, most=most)
    assert len(points) <= most
    assert bool(points) == bool(stroke.any())
    assert all(stroke[int(point.y_px), int(point.x_px)] for point in points)
    assert len(set(points)) == len(points)


def test_on_a_large_image_points_still_lie_on_a_thin_stroke() -> None:
    stroke = np.zeros((5000, 7000), bool)
    np.fill_diagonal(stroke[100:4900, 100:4900], val=True)
    points = points_along(stroke, most=8)
    assert len(points) == 8
    assert all(stroke[int(point.y_px), int(point.x_px)] for point in points)
    assert max(point.x_px for point in points) - min(point.x_px for point in points) > 4700


def test_a_click_to_stay_apart_from_counts_as_an_edge() -> None:
    square = np.ones((41, 41), bool)
    assert points_along(square, most=1) == (Click(20.5, 20.5),)
    (point,) = points_along(square, most=1, apart_from=[Click(20.5, 20.5)])
    assert np.hypot(point.x_px - 20.5, point.y_px - 20.5) > 8
    assert points_along(square[:1, :1], most=1, apart_from=[Click(0.5, 0.5)]) == (Click(0.5, 0.5),)
