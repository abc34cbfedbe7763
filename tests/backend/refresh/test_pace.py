"""Batches fit the time that one should take, and all of them the rate."""

import pytest
from support.clock import HandClock

from backend.refresh.pace import Pace
from backend.refresh.rules import Limits, Rules


def test_batches_that_run_at_once_share_the_rate() -> None:
    """Fails without the rate (SAMLOOP_REFRESH_RATE): the next batch would begin at once."""
    clock = HandClock()
    pace = Pace(Rules(per_second=2.0), Limits(), clock=clock)
    pace.begin(4)
    assert pace.wait_s() == pytest.approx(2.0)
    clock.advance(2.0)
    assert pace.wait_s() == 0
    clock.advance(100.0)
    pace.begin(4)
    assert pace.wait_s() == pytest.approx(2.0), "time that nobody used is not saved up"


def test_without_a_rate_nobody_waits() -> None:
    pace = Pace(Rules(), Limits(), clock=HandClock())
    pace.begin(1000)
    assert pace.wait_s() == 0


@pytest.mark.parametrize(("took_s", "size"), [(0.0, 8), (5.0, 4), (10.0, 2), (1e6, 1)])
def test_a_batch_grows_at_most_twofold_and_shrinks_at_most_to_a_quarter(took_s: float, size: int) -> None:
    pace = Pace(Rules(batch_s=5.0), Limits(), clock=HandClock())
    pace.learn(4, took_s=took_s)
    assert pace.size == size
