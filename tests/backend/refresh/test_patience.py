"""Failures that pass are waited out, longer after every one, and not for ever."""

from collections.abc import Callable, Iterator

import pytest
from support.clock import HandClock

from backend.errors import BadInput, Unavailable, Upstream
from backend.refresh.patience import Patience


class Over(Exception):
    pass


class Ends:
    """A clock, the pauses that were made, and whether the refresh is over."""

    def __init__(self) -> None:
        self.clock, self.over_at_s = HandClock(), float("inf")

    def check(self) -> None:
        if self.clock.now_s >= self.over_at_s:
            raise Over

    def patience(self, *, patience_s: float = 600.0) -> Patience:
        return Patience(
            check=self.check,
            patience_s=patience_s,
            first_pause_s=0.5,
            longest_pause_s=60.0,
            clock=self.clock,
            sleep=self.clock.advance,
        )


@pytest.fixture
def ends() -> Ends:
    return Ends()


def failing(faults: list[Exception]) -> Callable[[], str]:
    """Raises the faults one after another, then answers."""
    left: Iterator[Exception] = iter(faults)

    def ask() -> str:
        if (fault := next(left, None)) is not None:
            raise fault
        return "answer"

    return ask


def test_pauses_double_from_half_a_second_and_are_cut_by_half_at_random(ends: Ends) -> None:
    began_s = ends.clock.now_s
    assert ends.patience().ask(failing([Upstream("away")] * 6)) == "answer"
    longest_s = 0.5 * (2**6 - 1)
    assert longest_s / 2 <= ends.clock.now_s - began_s <= longest_s


def test_no_pause_is_longer_than_the_longest(ends: Ends) -> None:
    pauses = ends.patience(patience_s=1e9).begin()
    for _ in range(20):
        before_s = ends.clock.now_s
        pauses.wait(Upstream("away"))
        assert ends.clock.now_s - before_s <= 60.0


def test_whoever_says_when_to_come_back_is_believed(ends: Ends) -> None:
    began_s = ends.clock.now_s
    ends.patience().ask(failing([Unavailable("busy", retry_after_s=42)]))
    assert ends.clock.now_s - began_s == pytest.approx(42.0)


def test_a_failure_that_lasts_is_raised_as_it_is(ends: Ends) -> None:
    began_s = ends.clock.now_s
    with pytest.raises(Upstream, match="the 502"):
        ends.patience(patience_s=30.0).ask(failing([Upstream("the 502")] * 1000))
    assert 15.0 < ends.clock.now_s - began_s <= 30.0


def test_what_no_waiting_mends_is_raised_at_once(ends: Ends) -> None:
    with pytest.raises(BadInput, match="no label"):
        ends.patience().ask(failing([BadInput("no label")]))
    assert ends.clock.now_s == HandClock().now_s


def test_a_refresh_that_is_over_is_noticed_within_a_second_of_a_pause(ends: Ends) -> None:
    ends.over_at_s = ends.clock.now_s + 3.5
    with pytest.raises(Over):
        ends.patience().pause(1000.0)
    assert ends.clock.now_s <= ends.over_at_s + 1.0
