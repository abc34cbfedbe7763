"""`samloop refresh`: asked for, watched, ended."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli import refresh
from backend.errors import SamloopError
from backend.work.status import TrainingStatus


class Queue:
    """Answers as the queue would, one status after the other."""

    def __init__(self, *statuses: TrainingStatus, is_busy: bool = True) -> None:
        self._statuses: Iterator[TrainingStatus] = iter(statuses)
        self._is_busy = is_busy

    def request(self, project_id: int) -> str:
        return f"refresh-{project_id}-1"

    def cancel(self, project_id: int) -> bool:
        return self._is_busy

    def status(self, project_id: int) -> TrainingStatus:
        return next(self._statuses)


@pytest.fixture
def samloop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on this queue, with so many workers listening; gives the result."""

    def run(*words: str, queue: Queue, workers: int = 1) -> Any:
        monkeypatch.setenv("REDIS_URL", "redis://queue.example:6379/0")
        monkeypatch.setattr("backend.work.follower.refresh_queue", lambda _: queue)
        monkeypatch.setattr("backend.work.queue.count_listeners", lambda _, **__: workers)
        monkeypatch.setattr(refresh, "time", SimpleNamespace(sleep=lambda _: None))
        return CliRunner().invoke(app, ["refresh", "--project", "7", *words])

    return run


def test_a_refresh_is_watched_until_it_ends(samloop: Any) -> None:
    done = samloop(
        queue=Queue(
            TrainingStatus(phase="queued"),
            TrainingStatus(phase="refreshing", progress={"done": 1, "total": 2, "version": "v"}),
            TrainingStatus(phase="idle", verdict={"reason": "2 tasks have fresh masks"}),
        )
    )
    assert (done.exit_code, done.stdout) == (0, "2 tasks have fresh masks\n")


def test_a_refresh_that_fails_says_why(samloop: Any) -> None:
    done = samloop(queue=Queue(TrainingStatus(phase="failed", error="Label Studio cannot be reached")))
    assert isinstance(done.exception, SamloopError)
    assert str(done.exception) == "the refresh of project 7 failed: Label Studio cannot be reached"


@pytest.mark.parametrize(("workers", "is_warned"), [(0, True), (1, False)])
def test_a_refresh_that_no_worker_will_take_is_told(samloop: Any, workers: int, is_warned: bool) -> None:
    done = samloop("--no-wait", queue=Queue(), workers=workers)
    assert "queued refresh-7-1" in done.stdout
    assert ("no worker refreshes here yet" in done.output) == is_warned


@pytest.mark.parametrize(("is_busy", "says"), [(True, "is ending"), (False, "was neither waiting nor running")])
def test_cancelling_tells_whether_there_was_anything_to_end(samloop: Any, is_busy: bool, says: str) -> None:
    done = samloop("--cancel", queue=Queue(is_busy=is_busy))
    assert done.stdout == f"the refresh of project 7 {says}\n"
