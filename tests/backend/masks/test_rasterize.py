"""Shapes fill the pixels whose centres they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.masks.rasterize import fill_ellipse, fill_polygon, fill_rectangle

HEIGHT, WIDTH = 20, 30
points = arrays.arrays(np.float64, st.tuples(st.integers(0, 9), st.just(2)), elements=st.floats(-15, 45, width=32))


def slow_fill(polygon: np.ndarray) -> np.ndarray:
    """How often the outline goes around every pixel's centre, edge by edge, half open in y."""
    around = np.zeros((HEIGHT, WIDTH), int)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        for row in range(HEIGHT):
            y = row + 0.5
            if min(y0, y1) <= y < max(y0, y1):
                crossing = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
                around[row] += np.sign(y1 - y0).astype(int) * (np.arange(WIDTH) + 0.5 >= crossing)
    return around != 0


@given(polygon=points)
def test_a_polygon_is_filled_by_the_nonzero_rule_at_pixel_centres(polygon: np.ndarray) -> None:
    expected = slow_fill(polygon) if len(polygon) >= 3 else np.zeros((HEIGHT, WIDTH), bool)
    assert np.array_equal(fill_polygon(polygon, height_px=HEIGHT, width_px=WIDTH), expected)


def test_what_an_outline_encloses_twice_is_inside_and_what_it_goes_around_backwards_is_a_hole() -> None:
    """As the editor shows it: its canvas fills by the nonzero rule."""
    loop = [[5.0, 5], [25, 5], [25, 15], [5, 15]]
    twice = np.array([*loop, [5, 5], [10, 8], [20, 8], [20, 12], [10, 12], [10, 8]])
    hole = np.array([*loop, [5, 5], [10, 8], [10, 12], [20, 12], [20, 8], [10, 8]])
    assert fill_polygon(twice, height_px=HEIGHT, width_px=WIDTH).sum() == 20 * 10
    assert fill_polygon(hole, height_px=HEIGHT, width_px=WIDTH).sum() == 20 * 10 - 10 * 4


def test_two_polygons_with_a_common_edge_share_no_pixel_and_leave_none_out() -> None:
    left = fill_polygon(np.array([[2.0, 2], [13.3, 2], [9.1, 17], [2, 17]]), height_px=HEIGHT, width_px=WIDTH)
    right = fill_polygon(np.array([[13.3, 2], [25.0, 2], [25, 17], [9.1, 17]]), height_px=HEIGHT, width_px=WIDTH)
    whole = fill_rectangle(
        x_px=2.0, y_px=2.0, rectangle_width_px=23.0, rectangle_height_px=15.0, height_px=HEIGHT, width_px=WIDTH
    )
    assert not (left & right).any()
    assert np.array_equal(left | right, whole)


def test_a_polygon_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fill_polygon(np.array([[0, 0], [1, np.nan], [2, 2]]), height_px=5, width_px=5)


def test_a_polygon_far_outside_fills_nothing_and_one_around_fills_all() -> None:
    assert not fill_polygon(np.array([[1e9, 1e9], [2e9, 1e9], [2e9, 2e9]]), height_px=9, width_px=9).any()
    assert fill_polygon(np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]]), height_px=9, width_px=9).all()


def test_a_polygon_worked_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    star = np.random.default_rng(0).uniform(-5, 35, (300, 2))
    whole = fill_polygon(star, height_px=HEIGHT, width_px=WIDTH)
    monkeypatch.setattr("backend.masks.rasterize._CHUNK", 7)
    assert np.array_equal(fill_polygon(star, height_px=HEIGHT, width_px=WIDTH), whole)
    assert whole.any()


@given(rotation=st.floats(-720, 720), rx=st.floats(0.5, 12), ry=st.floats(0.5, 12))
def test_an_ellipse_holds_the_centres_that_its_equation_holds(rotation: float, rx: float, ry: float) -> None:
    mask = fill_ellipse(
        center_x_px=14.2,
        center_y_px=9.7,
        radius_x_px=rx,
        radius_y_px=ry,
        rotation_deg=rotation,
        height_px=HEIGHT,
        width_px=WIDTH,
    )
    turn = np.radians(rotation)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - 14.2, np.arange(HEIGHT) + 0.5 - 9.7)
    value = ((x * np.cos(turn) + y * np.sin(turn)) / rx) ** 2 + ((y * np.cos(turn) - x * np.sin(turn)) / ry) ** 2
    sure = np.abs(value - 1) > 1e-9
    assert np.array_equal(mask[sure], (value <= 1)[sure])


def test_an_ellipse_without_a_radius_or_outside_is_empty() -> None:
    flat = dict(center_y_px=5.0, radius_y_px=2.0, height_px=9, width_px=9)
    assert not fill_ellipse(center_x_px=5.0, radius_x_px=0.0, **flat).any()
    assert not fill_ellipse(center_x_px=500.0, radius_x_px=2.0, **flat).any()


def test_a_rectangle_turns_clockwise_about_its_top_left_corner() -> None:
    turned = fill_rectangle(
        x_px=10.0,
        y_px=5.0,
        rectangle_width_px=8.0,
        rectangle_height_px=3.0,
        rotation_deg=90.0,
        height_px=HEIGHT,
        width_px=WIDTH,
    )
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[5:13, 7:10] = True
    assert np.array_equal(turned, expected)


def test_an_outline_that_crosses_more_rows_than_any_drawing_is_refused_before_it_is_filled() -> None:
    """A polygon of 1 MB took 90 s on 12 megapixels: every edge crossed all of the image."""
    zigzag = np.array([[number / 10, 3000.0 * (number % 2)] for number in range(3000)])
    with pytest.raises(ValueError, match="cross 9000000 rows; at most 8388608 are allowed"):
        fill_polygon(zigzag, height_px=3000, width_px=300)
    assert fill_polygon(zigzag[:1000], height_px=3000, width_px=300).any()


def test_more_edges_than_a_byte_counts_cross_at_one_pixel() -> None:
    there_and_back = np.array([[1.0, 0.0], [1.0, 4.0]] * 200 + [[3.0, 4.0], [3.0, 0.0]])
    assert np.array_equal(fill_polygon(there_and_back, height_px=4, width_px=5)[2], [False, True, True, False, False])
    around = np.array([[1.0, 0.0], [1.0, 4.0], [3.0, 4.0], [3.0, 0.0]] * 256)
    assert np.array_equal(fill_polygon(around, height_px=4, width_px=5)[2], [False, True, True, False, False])
