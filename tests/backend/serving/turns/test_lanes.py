"""The hurried first, nobody endlessly, and never more than the lane bears."""

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import HandClock
from support.waiting import SOON_S, soon, wait_until

from backend.errors import Busy
from backend.serving.turns.job import Job
from backend.serving.turns.lanes import Lane
from backend.serving.turns.traffic import Priority, Traffic

Opened = Callable[..., Lane]


@contextmanager
def busy(lane: Lane, *, workers: int = 2) -> Iterator[None]:
    """All workers are at something until the block ends."""
    done = threading.Event()
    jobs = [lane.submit(lambda: done.wait(SOON_S), priority=Priority.CLICK) for _ in range(workers)]
    wait_until(lambda: lane.running == workers)
    try:
        yield
    finally:
        done.set()
        for job in jobs:
            job.result(until_s=soon())


def test_what_the_work_returns_or_raises_comes_back(opened: Opened) -> None:
    lane = opened()
    assert lane.run(lambda: 7, priority=Priority.CLICK, until_s=soon()) == 7
    with pytest.raises(ZeroDivisionError, match="division"):
        lane.run(lambda: 1 / 0, priority=Priority.CLICK, until_s=soon())
    with pytest.raises(TimeoutError, match="the work's own"):
        lane.run(lambda: _raise(TimeoutError("the work's own")), priority=Priority.CLICK, until_s=soon())
    wait_until(lambda: lane.running == 0)  # a worker gives the result before it puts the job down
    assert (lane.running, lane.waiting, lane.refused) == (0, 0, 0)


def _raise(fault: Exception) -> None:
    raise fault


@settings(max_examples=30, deadline=None)
@given(asked=st.lists(st.sampled_from(list(Priority)), min_size=1, max_size=12))
def test_the_most_urgent_goes_first_and_among_equals_the_oldest(asked: list[Priority]) -> None:
    lane = Lane("encode", workers=2, waiting=100, cores=1, traffic=Traffic())
    order: list[int] = []
    try:
        with busy(lane, workers=2):
            jobs = [
                lane.submit(lambda number=number: order.append(number), priority=priority)
                for number, priority in enumerate(asked)
            ]
            # One worker stays busy, so that the others come one after the other.
            holding = threading.Event()
            held = lane.submit(lambda: holding.wait(SOON_S), priority=Priority.CLICK)
            lane._waiting.insert(0, lane._waiting.pop())
        for job in jobs:
            job.result(until_s=soon())
        holding.set()
        held.result(until_s=soon())
    finally:
        lane.close()
    assert order == sorted(range(len(asked)), key=lambda number: (asked[number], number))


def test_a_job_that_a_click_joins_overtakes(opened: Opened) -> None:
    lane, order = opened(), []
    with busy(lane):
        first = lane.submit(lambda: order.append("batch"), priority=Priority.BATCH)
        second = lane.submit(lambda: order.append("joined"), priority=Priority.PREWARM)
        second.hasten(Priority.CLICK, until_s=soon())
    for job in (first, second):
        job.result(until_s=soon())
    assert order == ["joined", "batch"]


def test_jobs_run_side_by_side_up_to_the_workers_and_share_the_cores(opened: Opened) -> None:
    cores: list[int] = []

    @contextmanager
    def noting(job: Job[Any]) -> Iterator[None]:
        cores.append(job.cores)
        yield

    lane, together = opened(during=noting), threading.Barrier(2, timeout=SOON_S)
    lane.run(lambda: None, priority=Priority.CLICK, until_s=soon())
    jobs = [lane.submit(together.wait, priority=Priority.CLICK) for _ in range(2)]
    for job in jobs:
        job.result(until_s=soon())  # breaks, if one waits for the other
    assert cores[0] == 4
    assert cores[-1] == 2


def test_what_is_no_click_leaves_a_worker_free(opened: Opened) -> None:
    lane, done = opened(), threading.Event()
    batches = [lane.submit(lambda: done.wait(SOON_S), priority=Priority.BATCH) for _ in range(3)]
    wait_until(lambda: lane.running)

    assert lane.run(lambda: "clicked", priority=Priority.CLICK, until_s=soon()) == "clicked"

    assert (lane.running, lane.waiting) == (1, 2)
    done.set()
    for batch in batches:
        batch.result(until_s=soon())


def test_a_full_lane_refuses_with_the_time_after_which_to_ask_again(opened: Opened) -> None:
    lane = opened(waiting=3)
    with busy(lane):
        kept = [lane.submit(lambda: None, priority=Priority.BATCH) for _ in range(3)]
        with pytest.raises(Busy, match="3 requests wait already") as refused:
            lane.submit(lambda: None, priority=Priority.BATCH)
        assert 1 <= refused.value.retry_after_s <= 60
        assert refused.value.status == 503
        clicked = lane.submit(lambda: None, priority=Priority.CLICK)  # what is less urgent is not in its way
        with pytest.raises(Busy, match="wait already"):
            lane.submit(lambda: None, priority=Priority.PREWARM)
    for job in (*kept, clicked):
        job.result(until_s=soon())
    assert lane.refused == 2


def test_a_project_that_fills_the_lane_makes_room_for_another_and_waits_no_longer_itself(opened: Opened) -> None:
    """256 slow images of one project would otherwise give every other project's click a 503."""
    lane = opened(waiting=4)
    with busy(lane):
        hoarded = [lane.submit(lambda: "slow", priority=Priority.CLICK, owner=7) for _ in range(4)]
        with pytest.raises(Busy, match="4 requests wait already"):
            lane.submit(lambda: "slow", priority=Priority.CLICK, owner=7)
        others = [lane.submit(lambda: "quick", priority=Priority.CLICK, owner=8) for _ in range(2)]
        with pytest.raises(Busy, match="4 requests wait already"):
            lane.submit(lambda: "quick", priority=Priority.CLICK, owner=8)  # both have half by now
        for displaced in hoarded[2:]:
            with pytest.raises(Busy, match="4 requests wait already, most of them of this project; try again"):
                displaced.result(until_s=soon())
    assert [job.result(until_s=soon()) for job in (*hoarded[:2], *others)] == ["slow", "slow", "quick", "quick"]


def test_a_batch_displaces_no_click(opened: Opened) -> None:
    lane = opened(waiting=4)
    with busy(lane):
        clicks = [lane.submit(lambda: "click", priority=Priority.CLICK, owner=7) for _ in range(4)]
        with pytest.raises(Busy, match="4 requests wait already"):
            lane.submit(lambda: "batch", priority=Priority.BATCH, owner=8)
    assert [job.result(until_s=soon()) for job in clicks] == ["click"] * 4


def test_projects_take_turns_however_many_requests_of_one_of_them_wait(opened: Opened) -> None:
    lane, order = opened(cores=1), list[int]()
    with busy(lane):
        jobs = [
            lane.submit(lambda owner=owner: order.append(owner), priority=Priority.BATCH, owner=owner)
            for owner in (7, 7, 7, 7, 8, 9, 8)
        ]  # batches run one after the other, for they leave one of two workers free
    for job in jobs:
        job.result(until_s=soon())
    assert order == [7, 8, 9, 7, 8, 7, 7]


def test_nobody_waits_beyond_the_deadline_and_work_that_nobody_waits_for_is_not_begun(opened: Opened) -> None:
    lane, done = opened(), []
    with busy(lane), pytest.raises(Busy, match="in time"):
        lane.run(lambda: done.append("late"), priority=Priority.CLICK, until_s=time.monotonic())
    lane.run(lambda: None, priority=Priority.CLICK, until_s=soon())
    wait_until(lambda: not lane.waiting and not lane.running)
    assert not done


def test_who_joins_later_extends_the_deadline(opened: Opened) -> None:
    clock = HandClock()
    lane = opened(clock=clock)
    began, done = threading.Semaphore(0), threading.Event()
    running = [lane.submit(lambda: began.release() or done.wait(SOON_S), priority=Priority.CLICK) for _ in range(2)]
    for _ in running:
        assert began.acquire(timeout=SOON_S)
    forgotten = lane.submit(lambda: "done", priority=Priority.CLICK, until_s=clock.now_s + 5)
    joined = lane.submit(lambda: "done", priority=Priority.CLICK, until_s=clock.now_s + 5)
    joined.hasten(Priority.CLICK, until_s=math.inf)
    clock.advance(10)
    done.set()
    assert joined.result(until_s=math.inf) == "done"
    with pytest.raises(Busy, match="in time"):
        forgotten.result(until_s=math.inf)


def test_a_server_that_ends_answers_what_runs_and_refuses_what_waits_or_comes_with_the_time_to_come_back(
    opened: Opened,
) -> None:
    """Sixty clicks in flight at a SIGTERM are answered, or told when to try again, instead of cut off."""
    lane, done = opened(workers=2), threading.Event()
    running = [lane.submit(lambda: done.wait(SOON_S), priority=Priority.CLICK) for _ in range(2)]
    wait_until(lambda: lane.running == 2)
    waiting = [lane.submit(lambda: True, priority=Priority.CLICK) for _ in range(58)]
    lane.refuse_waiting()
    for job in waiting:
        with pytest.raises(Busy, match="the server is stopping") as refusal:
            job.result(until_s=soon())
        assert refusal.value.retry_after_s == 5
    with pytest.raises(Busy, match="the server is stopping"):
        lane.run(lambda: True, priority=Priority.CLICK, until_s=soon())
    done.set()
    assert [job.result(until_s=soon()) for job in running] == [True, True]


def test_a_closed_lane_refuses_what_waits_and_leaves_no_thread(opened: Opened) -> None:
    before = set(threading.enumerate())
    lane = opened()
    with busy(lane):
        waiting = lane.submit(lambda: None, priority=Priority.CLICK)
        closing = threading.Thread(target=lane.close)
        closing.start()
        with pytest.raises(Busy, match="stopping"):
            waiting.result(until_s=soon())
    closing.join(SOON_S)
    with pytest.raises(Busy, match="stopping"):
        lane.submit(lambda: None, priority=Priority.CLICK)
    assert not set(threading.enumerate()) - before


def test_a_worker_keeps_nothing_of_what_it_did(opened: Opened) -> None:
    import weakref

    class Image:
        pass

    lane, image = opened(), Image()
    gone = weakref.ref(image)
    lane.run(functools.partial(id, image), priority=Priority.CLICK, until_s=math.inf)
    del image
    wait_until(lambda: gone() is None)
