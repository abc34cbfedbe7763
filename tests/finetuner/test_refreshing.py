"""A refresh as a job: real worker, real Valkey, a fake Label Studio and a played backend."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.refreshes import RefreshLab, refresh_lab
from rq import Queue
from support.checkpoints import make_manifest
from support.waiting import wait_until

from backend.errors import SettingsError
from backend.registry.local import LocalRegistry
from backend.settings import Settings
from backend.work.jobs import REFRESH_QUEUE, REFRESHES, SafeJob
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue, count_listeners
from finetuner import refreshing


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RefreshLab]:
    with refresh_lab(tmp_path) as lab:
        yield lab


def until(lab: RefreshLab, condition: Callable[[], Any]) -> Any:
    return wait_until(condition, explain=lambda: (lab.folder / "worker.log").read_text()[-3000:])


def idle(lab: RefreshLab) -> bool:
    status = lab.queue.status(lab.project_id)
    assert not status.error, status.error
    return status.phase == "idle" and status.verdict is not None


def test_one_request_refreshes_and_leaves_its_words(lab: RefreshLab) -> None:
    """A training queued beside it waits for another worker."""
    trainings = TrainingQueue(lab.connection, job_seconds=60)
    trainings.request(lab.project_id)
    job_id = lab.queue.request(lab.project_id)
    assert job_id == f"refresh-{lab.project_id}-1"
    with lab.worker():
        until(lab, lambda: idle(lab))
        assert count_listeners(lab.connection, work=REFRESHES) == 1
        assert count_listeners(lab.connection) == 0
    verdict = lab.queue.status(lab.project_id).verdict
    assert verdict is not None
    assert (verdict["version"], verdict["written"], verdict["cancelled"]) == ("v1", 12, False)
    assert verdict["reason"] == "12 tasks got predictions of v1; people see v1 now"
    assert set(map(tuple, lab.held().values())) == {("v1",)}
    assert trainings.status(lab.project_id).phase == "queued"
    told = lab.queue.job(job_id)
    assert told is not None
    assert (told["project"], told["job_status"], told["result"]["outcome"]) == (lab.project_id, "finished", "done")


def test_requests_while_one_waits_are_one_and_while_one_runs_are_one_more(lab: RefreshLab) -> None:
    assert {lab.queue.request(lab.project_id) for _ in range(5)} == {f"refresh-{lab.project_id}-1"}
    lab.backend.hold()
    with lab.worker():
        until(lab, lambda: lab.backend.predicted)
        assert lab.queue.status(lab.project_id).phase == "refreshing"
        assert len({lab.queue.request(lab.project_id) for _ in range(5)}) == 1
        lab.backend.release()
        until(lab, lambda: lab.connection.get(Keys(lab.project_id, "refresh").served) == b"10")
    assert sum(map(len, lab.backend.predicted)) == 12, "the second had nothing left to do"


def test_a_cancelled_refresh_ends_after_its_batch_and_a_later_one_goes_on(lab: RefreshLab) -> None:
    lab.queue.request(lab.project_id)
    lab.backend.hold()
    with lab.worker():
        until(lab, lambda: lab.backend.predicted)
        assert lab.queue.cancel(lab.project_id)
        lab.backend.release()
        until(lab, lambda: idle(lab))
        verdict = lab.queue.status(lab.project_id).verdict
        assert verdict is not None
        assert verdict["reason"] == "cancelled; predictions written so far stay"
        assert sum(map(len, lab.held().values())) == 4
        assert not lab.queue.cancel(lab.project_id), "nothing waits or runs"
        lab.queue.request(lab.project_id)
        until(lab, lambda: sum(map(len, lab.held().values())) == 12)


def test_one_that_is_cancelled_while_it_waits_does_nothing(lab: RefreshLab) -> None:
    lab.queue.request(lab.project_id)
    lab.queue.cancel(lab.project_id)
    with lab.worker():
        until(lab, lambda: idle(lab))
    assert lab.backend.predicted == []


def test_a_promotion_meanwhile_supersedes_it(lab: RefreshLab) -> None:
    lab.queue.request(lab.project_id)
    lab.backend.hold()
    with lab.worker():
        until(lab, lambda: lab.backend.predicted)
        lab.backend.version = "v2"
        lab.backend.release()
        until(lab, lambda: idle(lab))
    assert set(map(tuple, lab.held().values())) == {("v2",)}


def test_what_is_promoted_while_it_waits_for_the_backend_is_what_it_waits_for(lab: RefreshLab) -> None:
    """The backend goes from the first to the third at once: nobody ever serves the second."""
    registry = LocalRegistry(lab.folder / "models")
    manifest = make_manifest(base_model="tiny")
    first, second, third = (
        registry.publish(lab.project_id, weights=bytes([number]), manifest=manifest).version for number in range(3)
    )
    lab.backend.version = first
    registry.promote(lab.project_id, second, reason="a test")
    lab.queue.request(lab.project_id)
    with lab.worker():
        until(lab, lambda: lab.queue.status(lab.project_id).progress.get("version") == second)
        registry.promote(lab.project_id, third, reason="a test")
        lab.backend.version = third
        until(lab, lambda: idle(lab))
    assert set(map(tuple, lab.held().values())) == {(third,)}
    assert "does not serve" not in (lab.folder / "worker.log").read_text(), "it waited in vain"


def test_sigterm_hands_it_over_and_no_task_gets_two(lab: RefreshLab) -> None:
    lab.queue.request(lab.project_id)
    lab.backend.hold()
    with lab.worker() as worker:
        until(lab, lambda: lab.backend.predicted)
        worker.terminate()
        assert worker.wait(120) == 0
    assert lab.queue.status(lab.project_id).phase == "queued"
    with lab.worker():
        until(lab, lambda: idle(lab))
    assert set(map(tuple, lab.held().values())) == {("v1",)}


def test_it_runs_refreshes_and_nothing_else(lab: RefreshLab, tmp_path: Path) -> None:
    """Not even a training: its queue is another."""
    queue = Queue(REFRESH_QUEUE, connection=lab.connection, serializer="json")
    for name in ("finetuner.job.run", "os.system"):
        queue.enqueue_call(name, args=(1, 1), job_id=name.replace(".", "-"))
    with lab.worker():
        for name in ("finetuner-job-run", "os-system"):
            job = SafeJob.fetch(name, connection=lab.connection, serializer="json")
            until(lab, lambda job=job: job.get_status(refresh=True) == "failed")
            result = job.latest_result()
            assert result is not None
            assert "workers run ['finetuner.refreshing.run']" in str(result.exc_string)


def test_it_fails_with_a_sentence_where_label_studio_refuses_the_key(lab: RefreshLab) -> None:
    lab.settings["LABEL_STUDIO_API_KEY"] = "0" * 40
    lab.queue.request(lab.project_id)
    with lab.worker():
        status = until(lab, lambda: (now := lab.queue.status(lab.project_id)).phase == "failed" and now)
    assert "LABEL_STUDIO_API_KEY is not accepted" in status.error


def test_without_label_studio_it_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set"):
        refreshing._store(Settings(), 1)


def test_it_is_a_job_and_nothing_else() -> None:
    with pytest.raises(RuntimeError, match="queue it with `samloop refresh --project N`"):
        refreshing.run(1, 1)
