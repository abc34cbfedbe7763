"""Requests for trainings: fast, coalesced, and never promised when Redis cannot be reached."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.training import Lab, kill, lab
from rq.executions import Execution
from rq.job import JobStatus
from support.waiting import wait_until

from backend.errors import BadInput, Unavailable
from backend.work.connection import connect
from backend.work.jobs import HEARTBEAT_S, SafeJob, open_queue
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue, count_listeners
from backend.work.rq_internals import sweep
from backend.work.status import TrainingStatus


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def fetched(played: Lab, job_id: str) -> SafeJob:
    """The job."""
    job = SafeJob.fetch(job_id, connection=played.connection, serializer="json")
    assert isinstance(job, SafeJob)
    return job


def test_a_request_is_a_job_with_a_time_limit_and_retries(played: Lab) -> None:
    """Named after project and generation, and JSON."""
    assert played.queue.request(7) == "train-7-1"
    job = fetched(played, "train-7-1")
    assert (job.func_name, list(job.args), job.timeout, job.retries_left) == ("finetuner.job.run", [7, 1], 60, 10)
    assert played.queue.status(7) == TrainingStatus(phase="queued", job_id="train-7-1", queued=1)
    told = played.queue.job("train-7-1")
    assert told is not None
    assert (told["project"], told["job_status"], told["result"], told["error"]) == (7, "queued", None, None)


def test_a_thousand_requests_in_a_second_are_one_training(played: Lab) -> None:
    """A request is answered with little work; eight threads at a time, as the server has them."""

    def request(_: int) -> float:
        began = time.thread_time()  # its own work: what else runs on the machine does not count
        assert played.queue.request(7).startswith("train-7-")
        return time.thread_time() - began

    with ThreadPoolExecutor(8) as pool:
        took = sorted(pool.map(request, range(1000)))
    assert took[990] < 0.2
    assert played.connection.get(Keys(7).wanted) == b"1000"
    assert played.queue.status(7).queued <= 8
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert len(played.journal("begin", 7)) == 1
    assert played.connection.get(Keys(7).served) == b"1000"


def test_of_one_project_one_training_runs_at_a_time_and_of_two_both(played: Lab) -> None:
    """Two workers, two jobs of project 7 and one of project 8."""
    played.queue.request(7)
    with played.worker(seconds=600), played.worker(seconds=600):
        played.horse(7)
        played.queue.request(7)
        played.queue.request(8)
        played.horse(8)
        assert len(played.journal("begin", 7)) == 1
        played.finish()
        played.until(lambda: len(played.journal("end")) == 3)
    begins, ends = played.journal("begin", 7), played.journal("end", 7)
    assert begins[1]["at"] > ends[0]["at"]


def test_a_request_after_the_waiting_job_was_begun_queues_another(played: Lab) -> None:
    """The mark of a waiting job counts only while the job can be seen to wait."""
    assert played.queue.request(7) == played.queue.request(7) == "train-7-1"
    fetched(played, "train-7-1").set_status(JobStatus.STARTED)
    assert played.queue.request(7) == "train-7-3"
    fetched(played, "train-7-3").delete()
    assert played.queue.request(7) == "train-7-4"


def test_nothing_is_promised_when_redis_is_away(played: Lab) -> None:
    """A 503 within moments; and after it is back the same queue works."""
    assert played.server.pid is not None
    kill(played.server.pid)
    began = time.monotonic()
    for ask, said in (
        (lambda: played.queue.request(7), "so nothing was queued"),
        (lambda: played.queue.status(7), "so the status is not known"),
        (lambda: played.queue.job("train-7-1"), "so the job is not known"),
        (lambda: count_listeners(played.connection), "so its workers are not known"),
        (played.queue.sweep, "so dead workers' trainings wait"),
    ):
        with pytest.raises(Unavailable, match=f"the queue does not answer, {said}: is Redis"):
            ask()
    assert time.monotonic() - began < 30
    played.server.start()
    assert played.queue.request(7)


def test_what_was_acknowledged_outlives_kill_9_of_the_server(played: Lab) -> None:
    """Twenty projects, then the kill, then a worker."""
    ids = {project: played.queue.request(project) for project in range(1, 21)}
    assert played.server.pid is not None
    kill(played.server.pid)
    played.server.start()
    assert {project: played.queue.status(project).job_id for project in ids} == ids
    with played.worker(seconds=0, burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert sorted(line["project"] for line in played.journal("end")) == list(range(1, 21))


@pytest.mark.parametrize("project_id", [0, -1, True, 10**13, "../../x", None, 1.0])
def test_a_project_id_that_is_none_is_refused(project_id: object) -> None:
    """Before Redis hears of it: nothing listens at this address."""
    queue = TrainingQueue(connect("redis://127.0.0.1:1"), job_seconds=60)
    for ask in (queue.request, queue.status):
        with pytest.raises(BadInput, match="not a project's number"):
            ask(project_id)  # type: ignore[arg-type]


@pytest.mark.parametrize("job_id", ["", "x", "train-1-0", "train-1-1\n", "../../x", "train-1-999"])
def test_a_job_that_is_not_there_is_none(played: Lab, job_id: str) -> None:
    """Whatever the client sent."""
    assert played.queue.job(job_id) is None


def test_a_project_that_never_trained_is_idle(played: Lab) -> None:
    """Nothing is kept of it."""
    assert played.queue.status(7) == TrainingStatus(phase="idle")
    assert played.connection.keys() == []


def test_the_sweep_gives_back_what_a_dead_worker_held(played: Lab) -> None:
    """At each place where the worker can have died: with the job off the queue, registered, started."""
    queue = open_queue(played.connection)
    for died in ("dequeued", "registered", "started"):
        played.connection.flushall()
        played.queue.request(7)
        assert played.connection.blmove(queue.key, queue.intermediate_queue_key, 1) == b"train-7-1"
        job = fetched(played, "train-7-1")
        if died != "dequeued":
            with played.connection.pipeline() as pipeline:
                Execution.create(job, 0, pipeline=pipeline, worker_name="dead")
                if died == "started":
                    job.prepare_for_execution("dead", pipeline=pipeline)
                    pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
                pipeline.execute()

        def is_given_back() -> bool:
            sweep(queue, heartbeat_s=0, stuck_s=0.05)  # the server has only just come up
            return queue.get_job_ids() == ["train-7-1"]

        wait_until(is_given_back, every_s=0.05, explain=lambda died=died: died)
        assert queue.intermediate_queue.get_job_ids() == []
        assert played.queue.status(7).phase == "queued"


def test_the_sweep_waits_until_workers_could_speak_again(played: Lab) -> None:
    """After Redis was away every heartbeat is late; giving their jobs to others would train twice."""
    played.queue.request(7)
    played.connection.zadd("rq:wip:samloop", {"train-7-1:x": 1})
    played.queue.sweep()
    assert played.connection.zcard("rq:wip:samloop") == 1


@pytest.mark.parametrize("off_s", [-3600, 3600])
def test_only_redis_clock_tells_which_worker_is_dead(played: Lab, off_s: int) -> None:
    """A worker whose clock is an hour behind is alive, and the job of one whose clock is an hour ahead is not lost."""
    queue = open_queue(played.connection)
    played.queue.request(7)
    assert played.connection.blmove(queue.key, queue.intermediate_queue_key, 1) == b"train-7-1"
    job = fetched(played, "train-7-1")
    with played.connection.pipeline() as pipeline:
        execution = Execution.create(job, HEARTBEAT_S, pipeline=pipeline, worker_name="skewed")
        job.prepare_for_execution("skewed", pipeline=pipeline)
        pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
        pipeline.execute()
    played.connection.zincrby("rq:wip:samloop", off_s, execution.composite_key)
    played.queue.sweep(heartbeat_s=0)
    assert played.queue.status(7).phase == "training"
    played.connection.delete(execution.key)  # as Redis does after a heartbeat's time
    played.queue.sweep(heartbeat_s=0)
    assert played.queue.status(7).phase == "queued"
    assert queue.get_job_ids() == ["train-7-1"]


def test_two_sweeps_do_not_meet(played: Lab) -> None:
    """Both would queue the same job; a sweeper that was killed blocks the others for ten seconds."""
    played.connection.set("samloop:sweeping:samloop", "1", px=600_000)
    played.connection.zadd("rq:wip:samloop", {"train-7-1:x": 1})
    played.queue.sweep(heartbeat_s=0)
    assert played.connection.zcard("rq:wip:samloop") == 1
    played.connection.pexpire("samloop:sweeping:samloop", 1)
    played.until(lambda: not played.connection.exists("samloop:sweeping:samloop"), sweeping=False)
    played.queue.sweep(heartbeat_s=0)
    assert played.connection.zcard("rq:wip:samloop") == 0


def test_a_job_that_rq_itself_gave_up_tells_why(played: Lab) -> None:
    """Killed once too often: no code of ours was there to leave a sentence."""
    played.queue.request(7)
    played.connection.hset("rq:job:train-7-1", mapping={"retries_left": 0, "status": "started"})
    played.connection.lpop(open_queue(played.connection).key)
    played.connection.zadd("rq:wip:samloop", {"train-7-1:x": 1})
    assert played.queue.status(7).phase == "training"
    played.queue.sweep(heartbeat_s=0)
    status = played.queue.status(7)
    assert status.phase == "failed"
    assert status.error is not None
    assert status.error.startswith("its worker ended again and again without a word, so it was given up: look for")
    assert played.queue.request(7) == "train-7-2"
    assert played.queue.status(7).phase == "queued"
