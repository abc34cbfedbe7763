"""A job knows who waits for it, until when, and makes way for clicks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.clock import HandClock
from support.traffic import WatchedTraffic

from backend.errors import Busy
from backend.serving.turns.job import Job
from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Priority, Traffic

Opened = Callable[..., Lane]
FOREVER_S = float("inf")
SOON_S = 120.0


class PlayedTraffic(Traffic):
    """Lets the clock run instead of waiting."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def wait_until_clear(self, *, longest_s: float) -> bool:
        self._clock.advance(longest_s)
        return super().wait_until_clear(longest_s=0.0)


def job_in(lane: Lane, *, priority: Priority, until_s: float = FOREVER_S) -> Job[str]:
    return Job(lane, lambda: "done", priority=priority, until_s=until_s)


def test_the_caller_who_joins_makes_it_more_urgent_and_its_deadline_later_never_the_reverse(opened: Opened) -> None:
    job = job_in(opened(), priority=Priority.BATCH, until_s=5.0)
    job.hasten(Priority.PREWARM, until_s=9.0)
    assert (job.priority, job.until_s) == (Priority.BATCH, 9.0)
    job.hasten(Priority.CLICK, until_s=7.0)
    assert (job.priority, job.until_s) == (Priority.CLICK, 9.0)


def test_who_waits_past_the_deadline_is_refused_with_the_reason(opened: Opened) -> None:
    clock = HandClock()
    job = job_in(opened(clock=clock), priority=Priority.CLICK)
    with pytest.raises(Busy, match="not this request's turn in time"):
        job.result(until_s=clock.now_s)


def test_its_end_is_told_whether_it_ran_failed_or_was_refused(opened: Opened) -> None:
    lane, told = opened(), []
    ran, failed, refused = (job_in(lane, priority=Priority.CLICK) for _ in range(3))
    failed._work = lambda: 1 / 0
    for job in (ran, failed, refused):
        job.when_done(lambda job=job: told.append(job))
    ran.run()
    failed.run()
    refused.refuse(Busy("no room", retry_after_s=5))
    assert told == [ran, failed, refused]
    assert all(job.done for job in told)
    assert ran.result(until_s=FOREVER_S) == "done"
    with pytest.raises(ZeroDivisionError):
        failed.result(until_s=FOREVER_S)
    with pytest.raises(Busy, match="no room"):
        refused.result(until_s=FOREVER_S)
    ran.when_done(told.clear)
    assert not told, "at once, where it is done already"


def test_what_warms_up_pauses_while_a_click_is_answered_and_then_goes_on(opened: Opened) -> None:
    traffic, stop, steps = WatchedTraffic(), threading.Event(), []
    lane = opened(traffic=traffic)
    box: list[Job[None]] = []
    step_done = threading.Semaphore(0)

    def work() -> None:
        while not stop.is_set():
            box[0].make_way()
            steps.append(1)
            step_done.release()
            stop.wait(0.001)

    def await_steps(count: int) -> None:
        for _ in range(count):
            assert step_done.acquire(timeout=SOON_S), "it does not go on"

    with traffic.click():
        box.append(lane.submit(work, priority=Priority.PREWARM))
        traffic.await_waits(3)
        assert not steps, "it must not begin while a click waits"
    await_steps(3)
    with traffic.click():
        before = len(steps)
        traffic.await_waits(4)  # of which the first may come after one more step
        assert len(steps) <= before + 1
        paused = len(steps)
        traffic.await_waits(3)
        assert len(steps) == paused
        while step_done.acquire(blocking=False):
            pass
        box[0].hasten(Priority.CLICK, until_s=FOREVER_S)  # now the click waits for this very job
        await_steps(3)
    stop.set()
    box[0].result(until_s=FOREVER_S)


def test_a_batch_makes_way_for_a_while_and_not_for_ever(opened: Opened) -> None:
    clock = HandClock()
    traffic = PlayedTraffic(clock)
    job = job_in(opened(traffic=traffic, clock=clock, batch_patience_s=2.0), priority=Priority.BATCH)
    began_s = clock.now_s
    with traffic.click():
        job.make_way()
        assert clock.now_s - began_s == pytest.approx(2.0, abs=0.05), "it waited as long as its patience lasts"
        for _ in range(50):
            job.make_way()
        assert clock.now_s - began_s == pytest.approx(2.0, abs=0.05), "and then no more, in all of its steps together"


def test_a_click_makes_way_for_nobody(opened: Opened) -> None:
    clock = HandClock()
    traffic = PlayedTraffic(clock)
    job = job_in(opened(traffic=traffic, clock=clock), priority=Priority.CLICK)
    with traffic.click():
        job.make_way()
    assert clock.now_s == HandClock().now_s


def test_paused_work_that_nobody_waits_for_any_more_ends(opened: Opened) -> None:
    clock = HandClock()
    traffic = PlayedTraffic(clock)
    job = job_in(opened(traffic=traffic, clock=clock), priority=Priority.PREWARM, until_s=clock.now_s + 60.0)
    with traffic.click(), pytest.raises(Busy, match="annotators came first"):
        job.make_way()
    assert clock.now_s == pytest.approx(HandClock().now_s + 60.0, abs=0.05)


def test_paused_work_ends_when_its_lane_is_closed(opened: Opened) -> None:
    traffic = WatchedTraffic()
    lane = opened(traffic=traffic)
    job = job_in(lane, priority=Priority.PREWARM)
    with ThreadPoolExecutor(1) as pool, traffic.click():
        paused = pool.submit(job.make_way)
        traffic.await_waits(2)
        lane.close()
        with pytest.raises(Busy, match="stopping"):
            paused.result(SOON_S)
