"""A training as a job: real worker, real Valkey, a played training."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.training import BUGGY, ENDLESS, HEALING, ROOT, STUBBORN, UNLEARNABLE, Lab, lab

from backend.work.jobs import SafeJob
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue, read_outcomes
from finetuner import job
from finetuner.lease import Lease


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def test_a_training_runs_and_leaves_its_verdict(played: Lab) -> None:
    """Figures that are not finite are null; the verdict outlives the job."""
    job_id = played.queue.request(7)
    assert played.queue.status(7).phase == "queued"
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    status = played.queue.status(7)
    assert (status.phase, status.queued, status.error) == ("idle", 0, None)
    assert status.verdict is not None
    assert {name: status.verdict[name] for name in ("version", "promoted", "reason", "gain", "hd95_px", "job")} == {
        "version": "tiny-p7-v1-000000",
        "promoted": True,
        "reason": "it is better",
        "gain": 0.5,
        "hd95_px": None,
        "job": job_id,
    }
    told = played.queue.job(job_id)
    assert told is not None
    assert told["job_status"] == "finished"
    assert told["result"]["outcome"] == "trained"
    assert told["progress"]["phase"] == "publishing"
    SafeJob.fetch(job_id, connection=played.connection, serializer="json").delete()
    assert played.queue.status(7).verdict == status.verdict
    assert read_outcomes(played.connection) == {"promoted": 1, "not_promoted": 0, "failed": 0, "cancelled": 0}


def test_a_table_is_logged_line_by_line_and_stays_where_a_late_visitor_sees_it(
    played: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train = SafeJob.fetch(played.queue.request(7), connection=played.connection, serializer="json")
    lease = Lease(Keys(7), holder="", patient=played.connection, quick=played.connection)
    with lease:
        progress = job.JobProgress(train, connection=played.connection, lease=lease)
        progress("checking", images=2, table="label  objects\nDisc   4")
        progress("training", epoch=1)
    train.refresh()
    assert train.meta["progress"] == {"phase": "training", "epoch": 1, "table": "label  objects\nDisc   4"}
    assert train.meta["losses"] == {}
    lines = [record.getMessage() for record in caplog.records if record.name == "finetuner.job"]
    assert lines == [
        "train-7-1 phase=checking images=2",
        "train-7-1 label  objects",
        "train-7-1 Disc   4",
        "train-7-1 phase=training epoch=1",
    ]


def test_progress_is_told_while_it_trains(played: Lab) -> None:
    """About twice a second, in the job's meta and the worker's log."""
    job_id = played.queue.request(7)
    with played.worker(seconds=600):
        played.until(lambda: int(played.queue.status(7).progress.get("epoch", 0)) > 3)
        status = played.queue.status(7)
    assert (status.phase, status.job_id) == ("training", job_id)
    assert set(status.progress) == {"phase", "epoch", "loss"}
    assert f"{job_id} phase=training epoch=" in played.logs()


def test_requests_that_a_training_served_are_coalesced(played: Lab) -> None:
    """Jobs that were queued before it began, should there be any, do not train again."""
    for generation in (1, 2, 3):
        played.connection.incr(Keys(7).wanted)
        played.queue._enqueue(7, generation)
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert len(played.journal("begin")) == 1
    results = [(played.queue.job(f"train-7-{generation}") or {})["result"] for generation in (1, 2, 3)]
    assert [result["outcome"] for result in results] == ["trained", "coalesced", "coalesced"]
    assert results[0]["generation"] == 3


def test_a_request_during_a_training_is_trained_afterwards(played: Lab) -> None:
    """Its annotations may have come too late for the one under way."""
    played.queue.request(7)
    with played.worker(seconds=600):
        played.horse(7)
        assert {played.queue.request(7) for _ in range(5)} == {"train-7-2"}
        assert played.queue.status(7).queued == 1
        played.finish()
        played.until(lambda: len(played.journal("end")) == 2)
    assert played.connection.get(Keys(7).served) == b"6"


def test_requests_that_count_on_a_waiting_job_are_served_by_it(played: Lab) -> None:
    """Though the training before it, begun late, stands for the request that had queued it."""
    played.queue.request(7)
    played.connection.delete(Keys(7).waiting)  # as after a kill: the first is queued again, and the second waits too
    assert played.queue.request(7) == "train-7-2"
    with played.worker(seconds=600):
        played.horse(7)
        assert played.queue.request(7) == "train-7-2"
        played.finish()
        played.until(lambda: played.connection.get(Keys(7).served) == b"3")
    assert len(played.journal("begin")) == 2


def test_a_project_from_which_nothing_can_be_learnt_fails_once_with_its_sentence(played: Lab) -> None:
    """Trying again would tell the same; a later request tries."""
    job_id = played.queue.request(UNLEARNABLE)
    with played.worker():
        played.until(lambda: played.queue.status(UNLEARNABLE).phase == "failed")
        status = played.queue.status(UNLEARNABLE)
        assert status.error == "project 101 has 1 usable image; a training needs 2: annotate more"
        assert status.job_id == job_id
        assert (played.queue.job(job_id) or {})["job_status"] == "failed"
        played.queue.request(UNLEARNABLE)
        assert played.queue.status(UNLEARNABLE).error is None
        played.until(lambda: len(played.journal("begin")) == 2)


def test_trainings_without_a_label_studio_are_refused_before_torch_is_loaded(played: Lab, tmp_path: Path) -> None:
    """It takes seconds to load: forty made-up projects would delay a real one by minutes.

    Fails without the worker's own look at the project.
    """
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')")
    for project_id in (7, 8):
        played.queue.request(project_id)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO")}
    environ |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    program = f"from finetuner.worker import run_worker; run_worker({played.url!r}, burst=True)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, check=True, timeout=120)
    for project_id in (7, 8):
        reason = played.queue.status(project_id).error
        assert reason is not None
        assert reason.startswith("LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set where the worker runs: set both")
    assert not (tmp_path / "loaded").exists()


def test_a_bug_is_tried_three_times_and_told_without_its_traceback(played: Lab) -> None:
    """With a pause between; not ten times, as a killed worker's training.

    Fails without the limit of its own for trainings that fail by themselves.
    """
    job_id = played.queue.request(BUGGY)
    with played.worker():
        played.until(lambda: played.queue.status(BUGGY).phase == "failed", seconds=120)
    begins = [line["at"] for line in played.journal("begin")]
    assert len(begins) == 3
    assert begins[1] - begins[0] > 0.5
    assert played.queue.status(BUGGY).error == "RuntimeError: a bug; the worker's log has the traceback"
    assert "Traceback" not in json.dumps(played.queue.job(job_id))


def test_what_may_pass_is_tried_again(played: Lab) -> None:
    """Label Studio was away for a moment; its sentence does not stay."""
    played.queue.request(HEALING)
    with played.worker():
        played.until(lambda: played.queue.status(HEALING).phase == "idle")
    assert len(played.journal("begin")) == 2
    assert played.queue.status(HEALING).error is None


@pytest.mark.parametrize("project_id", [ENDLESS, STUBBORN])
def test_the_time_limit_ends_a_training_whatever_it_catches(played: Lab, project_id: int) -> None:
    """A loop with `except Exception: pass` too."""
    TrainingQueue(played.connection, job_seconds=1).request(project_id)
    with played.worker():
        played.until(lambda: played.queue.status(project_id).phase == "failed")
    assert played.queue.status(project_id).error == "the training took longer than 1 s (SAMLOOP_JOB_SECONDS)"
    assert len(played.journal("begin")) == 1


def test_sigterm_hands_the_training_over(played: Lab) -> None:
    """The worker leaves, whatever the training catches; another one starts it again; no attempt is used up."""
    job_id = played.queue.request(STUBBORN)
    with played.worker() as worker:
        horse = played.horse(STUBBORN)
        began = time.monotonic()
        worker.terminate()
        assert worker.wait(120) == 0, played.logs()
        assert time.monotonic() - began < 60
    assert not Path(f"/proc/{horse}").exists()
    assert played.queue.status(STUBBORN).phase == "queued"
    with played.worker():
        played.until(lambda: len(played.journal("begin")) == 2)
    assert SafeJob.fetch(job_id, connection=played.connection, serializer="json").retries_left == 10


def test_nothing_that_redis_keeps_is_secret(played: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the token nor the password: they stay in the workers' environment."""
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "the-secret-token")
    monkeypatch.setenv("BASIC_AUTH_USER", "user")
    monkeypatch.setenv("BASIC_AUTH_PASS", "the-secret-password")
    played.queue.request(7)
    played.queue.request(BUGGY)
    with played.worker():
        played.until(lambda: played.queue.status(BUGGY).phase == "failed")
    everything = b"".join(played.connection.dump(key) or b"" for key in played.connection.scan_iter())
    assert b"the-secret" not in everything
    assert b"the-secret" not in (played.folder / "queue" / "appendonlydir" / "appendonly.aof.1.incr.aof").read_bytes()


def test_it_is_a_job_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a worker there is neither lease nor queue."""
    with pytest.raises(RuntimeError, match="queue it with `samloop train --project N`"):
        job.run(1, 1)


def test_arguments_that_are_no_numbers_are_refused(played: Lab) -> None:
    """They come out of Redis."""
    played.queue._queue.enqueue_call("finetuner.job.run", args=("../../x", 1), job_id="odd")
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0
    failed = SafeJob.fetch("odd", connection=played.connection, serializer="json")
    assert failed.is_failed
    result = failed.latest_result()
    assert result is not None
    assert "project is '../../x', not a project's number, such as 1" in str(result.exc_string)
    assert os.environ.get("JOURNAL") is None
