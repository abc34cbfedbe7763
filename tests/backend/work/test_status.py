"""Where a training is, as RQ's own records tell it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from redis import Redis
from rq.job import JobStatus

from backend.ids import JobId
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.jobs import SafeJob
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue
from backend.work.rq_internals import write_meta
from backend.work.status import TrainingStatus, describe, fetch_jobs, read_status

KEYS = Keys(7)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Redis]:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as redis:
        yield redis


@pytest.fixture
def job(connection: Redis) -> SafeJob:
    """The first training of project 7, waiting."""
    job_id = TrainingQueue(connection, job_seconds=60).request(7)
    (job,) = fetch_jobs(connection, job_id)
    assert job is not None
    return job


def test_before_anything_was_asked_for_a_project_is_idle(connection: Redis) -> None:
    assert read_status(connection, KEYS, under_way="training") == TrainingStatus(phase="idle")


def test_a_training_waits_runs_and_tells_how_far_it_is(connection: Redis, job: SafeJob) -> None:
    assert read_status(connection, KEYS, under_way="training") == TrainingStatus(
        phase="queued", job_id="train-7-1", queued=1
    )
    job.set_status(JobStatus.STARTED)
    write_meta(connection, job, {"progress": {"phase": "training", "epoch": 2}, "losses": {"prompts": [[1, 0.5]]}})
    status = read_status(connection, KEYS, under_way="training")
    assert (status.phase, status.queued) == ("training", 0)
    assert status.progress == {"phase": "training", "epoch": 2}
    assert status.losses == {"prompts": ((1.0, 0.5),)}


def test_the_last_verdict_stays_while_the_next_training_waits(connection: Redis, job: SafeJob) -> None:
    connection.hset(KEYS.last, mapping={"verdict": '{"promoted": true}'})
    assert read_status(connection, KEYS, under_way="training").verdict == {"promoted": True}


def test_meta_of_another_shape_is_no_progress(connection: Redis, job: SafeJob) -> None:
    """Whoever can write to Redis can write anything there."""
    job.set_status(JobStatus.STARTED)
    write_meta(connection, job, {"progress": ["x"]})
    assert read_status(connection, KEYS, under_way="training").progress == {}


def test_a_job_is_described_with_times_that_can_be_parsed(job: SafeJob) -> None:
    told = describe(job, JobId.find("train-7-1") or pytest.fail("it is an id"))
    assert (told["job"], told["project"], told["job_status"]) == ("train-7-1", 7, "queued")
    assert datetime.fromisoformat(told["created_at"]).tzinfo is not None
    assert (told["started_at"], told["result"], told["error"]) == (None, None, None)


def test_a_job_that_there_is_not_is_none(connection: Redis) -> None:
    assert fetch_jobs(connection, "train-7-99") == [None]
