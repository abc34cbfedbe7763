"""A calibration is a rising curve within [0, 1], or it is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadCheckpoint
from backend.registry.calibration import Calibration

CURVES = st.lists(st.tuples(st.floats(-1, 2), st.floats(0, 1)), min_size=1, max_size=20, unique_by=lambda pair: pair[0])
SLACK = 1e-9


def rising(pairs: list[tuple[float, float]]) -> Calibration:
    return Calibration(tuple(sorted(x for x, _ in pairs)), tuple(sorted(y for _, y in pairs)))


@given(pairs=CURVES, ious=st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
def test_a_calibrated_iou_lies_in_0_to_1_and_rises_with_the_predicted_one(
    pairs: list[tuple[float, float]], ious: tuple[float, float]
) -> None:
    curve, (low, high) = rising(pairs), sorted(ious)
    assert 0.0 <= curve(low) <= curve(high) + SLACK <= 1.0 + SLACK


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ((), (), "0 x and 0 y"),
        ((0.1, 0.2), (0.1,), "2 x and 1 y"),
        ((0.1, 0.1), (0.1, 0.2), "x must rise"),
        ((0.1, 0.2), (0.2, 0.1), "y must not fall"),
        ((0.1, math.nan), (0.1, 0.2), "finite"),
        ((0.1, 0.2), (0.1, 1.2), r"y in \[0, 1\]"),
    ],
)
def test_points_that_are_no_rising_curve_are_refused(x: tuple[float, ...], y: tuple[float, ...], why: str) -> None:
    with pytest.raises(BadCheckpoint, match=why):
        Calibration(x, y)
