"""A stroke covers the pixels whose centres are within half its width of its line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.masks.strokes import MOST_POINTS, Stroke, fill_strokes

HEIGHT, WIDTH = 20, 30
lines = arrays.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.integers(-8, 38))


def far(line: np.ndarray) -> np.ndarray:
    """Every pixel centre's distance from the line, piece by piece."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    near = np.full((HEIGHT, WIDTH), np.inf)
    for start, end in zip(line, [*line[1:], line[-1]], strict=True):
        along = end - start
        t = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9), 0, 1)
        near = np.minimum(near, np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1]))
    return near


@given(line=lines, width_px=st.integers(1, 12))
def test_a_stroke_is_as_wide_as_its_tip_with_round_ends(line: np.ndarray, width_px: int) -> None:
    mask = fill_strokes([Stroke(line, float(width_px))], height_px=HEIGHT, width_px=WIDTH)
    near = far(line)
    assert mask[near < width_px / 2 * 0.99].all()
    assert not mask[near > width_px / 2 * 1.001].any()


def test_a_stroke_around_something_leaves_it_out_and_two_strokes_are_one_mask() -> None:
    turn = np.linspace(0, 2 * np.pi, 60)
    ring = Stroke(np.stack([15 + 8 * np.cos(turn), 10 + 8 * np.sin(turn)], axis=1), 2.0)
    dot = Stroke(np.array([[15.0, 10.0], [15.0, 10.0]]), 4.0)
    alone = fill_strokes([ring], height_px=HEIGHT, width_px=WIDTH)
    both = fill_strokes([ring, dot, ring], height_px=HEIGHT, width_px=WIDTH)
    assert not alone[10, 15]
    assert both[10, 15]
    assert both.sum() == alone.sum() + 12


def test_a_scribble_that_crosses_itself_a_million_times_takes_no_longer_than_its_pieces() -> None:
    """Fails, by running for minutes, where the outline of the whole stroke is computed."""
    scribble = np.random.default_rng(0).uniform(0, 30, (3000, 2))
    assert fill_strokes([Stroke(scribble, 1.0)], height_px=HEIGHT, width_px=WIDTH)[2:-2, 2:-2].all()


def test_more_points_than_are_drawn_in_seconds_are_refused() -> None:
    strokes = [Stroke(np.zeros((MOST_POINTS, 2)), 1.0), Stroke(np.zeros((1, 2)), 1.0)]
    with pytest.raises(ValueError, match="the strokes have 50001 points; at most 50000 are allowed"):
        fill_strokes(strokes, height_px=HEIGHT, width_px=WIDTH)


def test_nothing_is_drawn_by_no_stroke() -> None:
    none, thin = Stroke(np.zeros((0, 2)), 5.0), Stroke(np.ones((2, 2)), 0.0)
    assert not fill_strokes([], height_px=HEIGHT, width_px=WIDTH).any()
    assert not fill_strokes([none, thin], height_px=HEIGHT, width_px=WIDTH).any()


def test_a_stroke_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        fill_strokes([Stroke(np.array([[1.0, 1.0], [np.nan, 2.0]]), 3.0)], height_px=HEIGHT, width_px=WIDTH)
