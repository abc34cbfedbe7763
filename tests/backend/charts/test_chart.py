"""Charts keep to their frame, with round numbers on their axes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.charts.chart import HEIGHT, WIDTH, Series, draw_chart, place_ticks, place_whisker

numbers = st.floats(-1e6, 1e6)


@given(points=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_every_point_lies_in_the_frame(points: list[tuple[float, float]]) -> None:
    found = draw_chart("t", [Series(name="a", style="plain", points=tuple(points), has_dots=True)], x_label="x")
    assert found is not None
    assert len(found.lines[0].dots) == len(points)
    for dot in found.lines[0].dots:
        assert found.left - 0.01 <= dot.x <= found.right + 0.01 < WIDTH
        assert found.top - 0.01 <= dot.y <= found.bottom + 0.01 < HEIGHT


@given(low=st.floats(-1e5, 1e5), span=st.floats(1e-3, 1e5))
def test_ticks_are_few_rising_and_within(low: float, span: float) -> None:
    found = place_ticks(low, low + span)
    assert 2 <= len(found) <= 7
    assert list(found) == sorted(found)
    assert low - span * 1e-6 <= found[0]
    assert found[-1] <= low + span * (1 + 1e-6)


def test_ticks_are_round_numbers() -> None:
    assert place_ticks(0.0, 1.0) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert place_ticks(3.0, 47.0) == (10.0, 20.0, 30.0, 40.0)


def test_values_that_are_no_numbers_are_left_out() -> None:
    points = ((0.0, float("nan")), (1.0, 2.0), (float("inf"), 1.0), (2.0, 3.0))
    found = draw_chart("t", [Series(name="a", style="plain", points=points, has_dots=True)], x_label="x")
    assert found is not None
    assert len(found.lines[0].dots) == 2
    nothing = Series(name="a", style="plain", points=((0.0, float("nan")),))
    assert draw_chart("t", [nothing], x_label="x") is None


def test_the_diagonal_is_where_both_axes_agree() -> None:
    series = Series(name="a", style="plain", points=((0.2, 0.2), (0.8, 0.8)), has_dots=True)
    found = draw_chart("t", [series], x_label="x", y_range=(0.0, 1.0), has_diagonal=True)
    assert found is not None
    assert found.diagonal == f"M{found.left:g} {found.bottom:g} L{found.right:g} {found.top:g}"


def test_a_whisker_has_zero_in_its_middle_and_stops_at_its_ends() -> None:
    assert place_whisker((0.0, -0.5, 2.0), reach=1.0) == (50.0, 25.0, 100.0)
    assert place_whisker((0.05, 0.0, 0.1), reach=0.1) == pytest.approx((75.0, 50.0, 100.0))


def test_a_dot_is_as_large_as_what_it_stands_for() -> None:
    points = ((0.0, 0.0), (1.0, 1.0))
    found = draw_chart(
        "t", [Series(name="a", style="plain", points=points, has_dots=True, counts=(1, 16))], x_label="x"
    )
    assert found is not None
    small, large = (dot.radius for dot in found.lines[0].dots)
    assert 1.5 < small < large


def test_whiskers_reach_from_low_to_high_within_the_frame() -> None:
    line = Series(
        name="a", style="plain", points=((1.0, 0.5), (2.0, 0.6)), intervals=((1.0, 0.1, 0.9), (2.0, 0.5, 0.7))
    )
    found = draw_chart("t", [line], x_label="x")
    assert found is not None
    first, second = found.lines[0].whiskers.removeprefix("M").split("M")
    x, _, rest = first.partition(" ")
    low, high = map(float, rest.split("V"))
    assert (float(x), low, high) == (found.left, found.bottom, found.top), "the widest fills the frame"
    assert second.startswith(f"{found.right:g} ")
