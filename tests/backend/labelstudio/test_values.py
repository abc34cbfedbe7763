"""Whatever a client wrote, a number is finite, bounded, or refused by name."""

import math
from typing import Any

import pytest

from backend.errors import BadInput
from backend.labelstudio.values import finite_number, read_id, read_last_change


@pytest.mark.parametrize(("value", "number"), [(3, 3.0), (2.5, 2.5), (-1e9, -1e9)])
def test_a_number_comes_as_a_float(value: Any, number: float) -> None:
    assert finite_number({"x": value}, "x") == number


def test_a_default_stands_for_what_is_absent_or_null() -> None:
    assert finite_number({}, "x", default=4.0) == finite_number({"x": None}, "x", default=4.0) == 4.0
    with pytest.raises(BadInput, match="x is NoneType"):
        finite_number({}, "x")


@pytest.mark.parametrize("value", ["5", True, [], math.nan, math.inf, -math.inf, 10**400, 1.1e9])
def test_what_is_no_usable_number_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(BadInput, match=r"^x is "):
        finite_number({"x": value}, "x", default=0.0)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12),
        ("12", 12),
        *((value, None) for value in [None, True, "", "012", "-1", "1" * 16, "\u0661", 1.0, [12]]),
    ],
)
def test_an_id_is_a_number_or_its_digits(value: Any, number: int | None) -> None:
    assert read_id(value) == number


def test_times_are_ordered_whatever_their_zone_and_their_form() -> None:
    """Label Studio writes no fraction for a whole second; its time zone may be set; before 1.0 it wrote numbers."""
    times = [
        None,
        "no time",
        1_601_000_000,
        "2024-06-01T01:00:00+05:00",
        "2024-05-31T22:00:00Z",
        "2024-06-01 01:00:00",
        "2024-06-01T01:00:00.500000Z",
    ]
    keys = [read_last_change({"updated_at": time}) for time in times]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_what_was_never_changed_counts_from_when_it_was_created() -> None:
    created = {"created_at": "2024-06-01T01:00:00Z"}
    assert read_last_change({"updated_at": None} | created) == read_last_change(
        {"updated_at": "2024-06-01T01:00:00Z", "created_at": "2023-06-01T01:00:00Z"}
    )


@pytest.mark.parametrize("time", [math.nan, math.inf, 10**400, [], True, "2024-13-01"])
def test_what_is_no_time_comes_before_every_time(time: Any) -> None:
    assert read_last_change({"updated_at": time}) < read_last_change({"updated_at": "1971-01-01T00:00:00Z"})
