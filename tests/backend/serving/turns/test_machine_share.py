"""A job in its lane: its share of the cores, and way for clicks between two operations of torch."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from backend.serving.turns.job import Job
from backend.serving.turns.lanes import Lane
from backend.serving.turns.machine_share import share_of_machine, stand_back, torch_threads
from backend.serving.turns.traffic import Priority, Traffic


class CountedTraffic(Traffic):
    """Counts how often it is asked for clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    @property
    def clicks(self) -> int:
        self.looks += 1
        return 0


@pytest.fixture
def traffic() -> CountedTraffic:
    return CountedTraffic()


@pytest.fixture
def lane(traffic: CountedTraffic) -> Iterator[Lane]:
    lane = Lane("encode", workers=2, waiting=10, cores=2, traffic=traffic)
    yield lane
    lane.close()


def some_operations() -> None:
    total = torch.zeros(3)
    for _ in range(10):
        total = total + 1


def looks_during(lane: Lane, traffic: CountedTraffic, priority: Priority) -> int:
    job = Job(lane, some_operations, priority=priority, until_s=math.inf)
    with share_of_machine(job):
        some_operations()
    return traffic.looks


@pytest.mark.parametrize("priority", [Priority.BATCH, Priority.PREWARM])
def test_before_every_operation_a_job_that_is_no_click_looks_for_clicks(
    lane: Lane, traffic: CountedTraffic, priority: Priority
) -> None:
    assert looks_during(lane, traffic, priority) >= 10


def test_a_click_looks_for_nobody(lane: Lane, traffic: CountedTraffic) -> None:
    assert looks_during(lane, traffic, Priority.CLICK) == 0


def test_outside_of_its_job_a_thread_pauses_no_more(lane: Lane, traffic: CountedTraffic) -> None:
    before = looks_during(lane, traffic, Priority.BATCH)
    some_operations()
    assert traffic.looks == before


def test_a_job_takes_its_share_of_the_cores_in_its_own_thread_alone(lane: Lane) -> None:
    here, seen = torch_threads(), []

    def work() -> None:
        job = Job(lane, some_operations, priority=Priority.CLICK, until_s=math.inf)
        job.cores = here + 1
        with share_of_machine(job):
            seen.append((threading.current_thread() is threading.main_thread(), torch_threads()))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(120)
    assert seen == [(False, here + 1)]
    assert torch_threads() == here


def test_work_outside_the_lanes_waits_for_a_click_on_one_core_and_gives_the_cores_back() -> None:
    """Fails without the pause, or where the work takes the cores of the clicks."""
    traffic, began, here = Traffic(), threading.Event(), torch_threads()

    def work() -> int:
        with stand_back(traffic, patience_s=math.inf):
            threads = torch_threads()
            began.set()
            some_operations()
        return threads

    with ThreadPoolExecutor(1) as pool:
        with traffic.click():
            done = pool.submit(work)
            assert began.wait(120)
            with pytest.raises(TimeoutError):
                done.result(0.1)
        assert done.result(120) == 1
    with stand_back(traffic, patience_s=0.0):
        pass
    assert torch_threads() == here


def test_work_outside_the_lanes_does_not_wait_for_ever() -> None:
    """Annotators may click without end."""
    traffic = Traffic()
    with traffic.click(), stand_back(traffic, patience_s=0.05):
        some_operations()
    assert traffic.clicks == 0
