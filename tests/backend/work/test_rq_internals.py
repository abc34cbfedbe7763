"""What we lean on in RQ's books, held against the installed RQ: whatever of it changes fails here by name."""

from collections.abc import Iterator

import pytest
from redis import Redis
from rq import Queue, Worker
from rq.job import Job
from rq.rate_limit import RateLimit
from rq.serializers import JSONSerializer

from backend.work import rq_internals
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.jobs import QUEUE, TRAIN, SafeJob, open_queue


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Valkey(tmp_path_factory.mktemp("queue")) as server:
        yield server.start()


@pytest.fixture
def queue(valkey: str) -> Iterator[Queue]:
    with connect(valkey) as connection:
        connection.flushall()
        yield open_queue(connection)


def enqueue(queue: Queue, job_id: str) -> Job:
    job: Job = queue.enqueue_call(TRAIN, args=(7, 1), job_id=job_id, rate_limit=RateLimit("train:7", 1))
    return job


def text(connection: Redis, key: str, field: str) -> str:
    value = connection.hget(key, field)
    assert value is not None, f"RQ keeps no {field} in {key} any more"
    return value.decode()


def test_a_job_is_a_hash_with_its_status_as_the_script_reads_it(queue: Queue) -> None:
    """lua/ask.lua counts a job as waiting by these two words."""
    enqueue(queue, "train-7-1")
    enqueue(queue, "train-7-2")
    assert rq_internals.JOB_PREFIX == "rq:job:"
    assert text(queue.connection, f"{rq_internals.JOB_PREFIX}train-7-1", "status") == "queued"
    assert text(queue.connection, f"{rq_internals.JOB_PREFIX}train-7-2", "status") == "rate_limited"


def test_the_jobs_under_a_limit_are_told_the_holder_first(queue: Queue) -> None:
    for job_id in ("train-7-1", "train-7-2", "train-7-3"):
        enqueue(queue, job_id)
    assert rq_internals.list_limited_jobs(queue.connection, "train:7") == ("train-7-1", "train-7-2", "train-7-3")
    assert rq_internals.list_limited_jobs(queue.connection, "train:8") == ()


def test_the_meta_that_is_written_is_the_meta_that_rq_reads(queue: Queue) -> None:
    job = enqueue(queue, "train-7-1")
    rq_internals.write_meta(queue.connection, job, {"progress": {"phase": "training", "epoch": 2}})
    read = SafeJob.fetch("train-7-1", connection=queue.connection, serializer=JSONSerializer)
    assert read.meta == {"progress": {"phase": "training", "epoch": 2}}
    assert read.get_status() == "queued"


def test_a_worker_counts_while_its_own_key_stands(queue: Queue) -> None:
    assert rq_internals.count_workers(queue) == 0
    worker = Worker([queue], connection=queue.connection, job_class=SafeJob, serializer=JSONSerializer)
    worker.register_birth()
    assert rq_internals.count_workers(queue) == 1
    queue.connection.delete(worker.key)  # killed, and its heartbeat ran out
    assert rq_internals.count_workers(queue) == 0


def test_a_job_that_was_taken_off_the_queue_and_never_started_goes_back_to_its_front(queue: Queue) -> None:
    enqueue(queue, "train-7-1")
    queue.enqueue_call(TRAIN, args=(8, 1), job_id="train-8-1")
    assert queue.connection.blmove(queue.key, queue.intermediate_queue_key, 1) == b"train-7-1"
    assert queue.key == f"rq:queue:{QUEUE}"
    for _ in range(2):  # seen there, and seen there again
        rq_internals.sweep(queue, heartbeat_s=0, stuck_s=0.0)
    assert queue.get_job_ids() == ["train-7-1", "train-8-1"]
    assert queue.intermediate_queue.get_job_ids() == []


@pytest.mark.parametrize("text", ["", "RuntimeError: a bug", "Work-horse"])
def test_a_reason_that_is_not_rqs_own_stays_as_it_is(text: str) -> None:
    assert rq_internals.explain_failure(text) is None


def test_kills_are_counted_by_the_job(queue: Queue) -> None:
    jobs = [enqueue(queue, job_id) for job_id in ("train-7-1", "train-7-2")]
    assert [rq_internals.count_kill(queue.connection, job) for job in (*jobs, jobs[0])] == [1, 1, 2]
    assert SafeJob.fetch("train-7-1", connection=queue.connection, serializer=JSONSerializer).get_status() == "queued"


def test_the_names_that_sweeping_and_leaving_use_are_there() -> None:
    """The worker overrides them; a method that RQ renames would be overridden in vain."""
    for name in (
        "execute_job",
        "main_work_horse",
        "get_heartbeat_ttl",
        "clean_registries",
        "handle_warm_shutdown_request",
        "handle_work_horse_killed",
        "set_shutdown_requested_date",
        "kill_horse",
        "_install_signal_handlers",
    ):
        assert callable(getattr(Worker, name, None)), f"RQ's worker has no {name} any more"
    assert "_stop_requested" in Worker.__init__.__code__.co_names, "RQ's worker does not note that it leaves any more"
    for name in ("success_callback", "failure_callback", "stopped_callback", "func", "send_webhooks"):
        assert hasattr(Job, name), f"RQ's job has no {name} any more"
