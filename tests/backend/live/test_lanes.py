"""Projects are worked on side by side, and one project never twice at once."""

import threading
from collections.abc import Iterator

import pytest
from support.waiting import wait_until

from backend.live.lanes import ProjectLanes


class Work:
    """Notes what it is called for; project 1 waits until it may go on, project 2 has a bug."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, project_id: int) -> None:
        if project_id == 1:
            self.begun.release()
            assert self.may_go_on.acquire(timeout=60)
        if project_id == 2:
            raise ZeroDivisionError
        self.done.append(project_id)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def lanes(work: Work) -> Iterator[ProjectLanes]:
    lanes = ProjectLanes(work, lanes=2, name="test-lane")
    lanes.start()
    yield lanes
    work.may_go_on.release(10)
    lanes.stop(within_s=60)


def test_a_project_that_takes_long_keeps_no_other_waiting(work: Work, lanes: ProjectLanes) -> None:
    lanes.submit(1)
    lanes.submit(3)
    wait_until(lambda: work.done == [3])
    work.may_go_on.release()
    wait_until(lambda: work.done == [3, 1])


def test_what_arrives_while_a_project_is_worked_on_is_worked_on_after_it(work: Work, lanes: ProjectLanes) -> None:
    lanes.submit(1)
    assert work.begun.acquire(timeout=60)
    for _ in range(3):
        lanes.submit(1)
    assert not work.begun.acquire(blocking=False), "a project is worked on once at a time"
    work.may_go_on.release(2)
    wait_until(lambda: work.done == [1, 1])
    lanes.submit(3)
    wait_until(lambda: work.done == [1, 1, 3])


def test_a_bug_in_one_project_costs_no_lane(work: Work, lanes: ProjectLanes, caplog: pytest.LogCaptureFixture) -> None:
    for project_id in (2, 2, 2, 3):
        lanes.submit(project_id)
    wait_until(lambda: work.done == [3])
    wait_until(lambda: "work on project 2 failed" in caplog.text)


def test_it_ends_with_its_threads_and_can_begin_again(work: Work, lanes: ProjectLanes) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "test-lane"]

    for count in (1, 2):
        lanes.submit(3)
        wait_until(lambda: len(work.done) == count)  # noqa: B023 - called at once
        assert len(threads()) == 2
        lanes.stop(within_s=60)
        lanes.stop(within_s=60)
        assert threads() == []
        lanes.start()
