"""A training that nobody wants any more ends within one step, on whatever worker, and the next one trains."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.training import BUGGY, ENDLESS, STUBBORN, Lab, lab
from support.waiting import SOON_S

from backend.work.keys import Keys
from backend.work.queue import read_outcomes
from finetuner.cancelling import Cancelled, Cancelling
from finetuner.progress import silent


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def _figures(played: Lab, project_id: int) -> tuple[object, ...]:
    status = played.queue.status(project_id)
    return status.phase, status.queued, status.error, status.verdict


@pytest.mark.parametrize("project_id", [ENDLESS, STUBBORN])
def test_a_cancelled_training_ends_at_its_step_with_what_waits_and_a_later_one_trains(
    played: Lab, project_id: int
) -> None:
    """Whatever the training catches; the same worker goes on with other projects. Fails without the watch."""
    job_id = played.queue.request(project_id)
    with played.worker():
        played.horse(project_id)
        played.queue.request(project_id)
        assert played.queue.cancel(project_id)
        cancelled_at = time.monotonic()
        played.until(lambda: (played.queue.job(job_id) or {})["job_status"] == "finished")
        assert played.journal("tick", project_id)[-1]["at"] - cancelled_at < 30
        # The one that waited is taken off the queue a moment later, and ends before it begins.
        # Between the two, the queue may show for a moment what begins.
        played.until(lambda: _figures(played, project_id) == ("idle", 0, None, None))
        assert played.queue.status(project_id).cancelled is not None
        assert (played.queue.job(job_id) or {})["result"] == {"outcome": "cancelled", "generation": 1}
        played.queue.request(7)
        played.until(lambda: played.queue.status(7).verdict is not None)
        assert len(played.journal("begin", project_id)) == 1, "the one that waited never began"
        assert not played.queue.cancel(project_id), "nothing waits or runs"
        played.queue.request(project_id)
        played.until(lambda: len(played.journal("begin", project_id)) == 2)
        assert played.queue.status(project_id).cancelled is None


def test_what_is_cancelled_while_it_waits_never_begins_and_is_no_longer_shown_as_waiting(played: Lab) -> None:
    """Also if the worker starts only afterwards, as after a restart; a later request is not lost with it.

    Fails without the look before a training begins.
    """
    played.queue.request(7)
    assert played.queue.cancel(7)
    assert played.queue.status(7).phase == "idle"
    assert played.queue.status(7).cancelled is not None
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert played.journal("begin") == []
    assert played.queue.request(7) == "train-7-2"
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert len(played.journal("begin")) == 1
    assert played.queue.status(7).cancelled is None


def test_a_request_right_after_the_cancelling_is_trained(played: Lab) -> None:
    """The job that was cancelled lies in the queue before it."""
    played.queue.request(7)
    played.queue.cancel(7)
    assert played.queue.request(7) == "train-7-2"
    assert played.queue.status(7).queued == 1
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert len(played.journal("end")) == 1
    assert played.connection.get(Keys(7).served) == b"2"


def test_a_training_whose_worker_was_killed_stays_cancelled_for_the_next_worker(played: Lab) -> None:
    played.queue.request(ENDLESS)
    with played.worker() as worker:
        played.horse(ENDLESS)
        worker.kill()
        worker.wait()
    played.queue.cancel(ENDLESS)
    with played.worker():
        played.until(lambda: (played.queue.job(f"train-{ENDLESS}-1") or {})["job_status"] == "finished", heartbeat_s=3)
    assert len(played.journal("begin")) == 1


def test_what_is_being_published_is_not_cancelled_any_more(played: Lab) -> None:
    """Fails where the watch goes on while a version is published: half of it would be in the registry."""
    told: list[str] = []
    with Cancelling(
        Keys(7), target=1, quick=played.connection, progress=lambda phase, **_: told.append(phase)
    ) as cancelling:
        cancelling.progress("publishing")
        assert "cancelling" not in {thread.name for thread in threading.enumerate()}, "nobody watches any more"
        played.connection.set(Keys(7).cancelled, 1)
    assert told == ["publishing"]
    with pytest.raises(Cancelled), Cancelling(Keys(7), target=1, quick=played.connection, progress=silent):
        told.append("a cancelled training began")
    assert told == ["publishing"]


@pytest.mark.parametrize("published", [[], ["publishing"]], ids=["in the first", "after the first"])
def test_a_training_with_a_first_version_is_cancelled_in_either_part(played: Lab, published: list[str]) -> None:
    """Fails where the publishing of the first version ends the watch for good."""

    def train() -> None:
        with Cancelling(Keys(7), target=1, quick=played.connection, progress=silent) as cancelling:
            for phase in ("training", *published):
                cancelling.progress(phase, part="first version")
            played.connection.set(Keys(7).cancelled, 1)
            cancelling.progress("checking", **({} if published else {"part": "first version"}))
            threading.Event().wait(SOON_S)

    with pytest.raises(Cancelled):
        train()


def test_a_training_that_fails_three_times_does_not_block_another_projects(played: Lab) -> None:
    played.queue.request(BUGGY)
    played.queue.request(7)
    with played.worker():
        played.until(lambda: played.queue.status(7).verdict is not None)
        played.until(lambda: played.queue.status(BUGGY).phase == "failed")
    assert len(played.journal("begin", BUGGY)) == 3
    outcomes = read_outcomes(played.connection)
    assert (outcomes["promoted"], outcomes["failed"]) == (1, 1), "three attempts are one training"
    assert played.queue.status(BUGGY).error == "RuntimeError: a bug; the worker's log has the traceback"
