"""The worker runs what is on its list, outlasts a Redis that cannot be reached, and imports no torch."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.training import Lab, alive, lab
from rq import Queue
from rq.job import Job

from backend.work.jobs import QUEUE, SafeJob, open_queue
from backend.work.queue import count_listeners

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def failure(played: Lab, job_id: str) -> str:
    """How the job failed."""
    job = SafeJob.fetch(job_id, connection=played.connection, serializer="json")
    assert job.is_failed, job.get_status()
    result = job.latest_result()
    assert result is not None
    return str(result.exc_string)


def test_a_function_that_is_not_on_the_list_is_refused_before_its_import(played: Lab, tmp_path: Path) -> None:
    """Whoever can write to Redis must not be able to run code: neither a function, nor by importing a module."""
    touched = tmp_path / "touched"
    (tmp_path / "evil.py").write_text(f"open({str(touched)!r}, 'w')\ndef run(): open({str(touched)!r}, 'w')\n")
    attacker = Queue(QUEUE, connection=played.connection, serializer="json")
    names = ("os.system", "evil.run", "finetuner.job.__builtins__.eval", "finetuner.lease.release_of_dead", "exec", "")
    for name in names:
        attacker.enqueue_call(name or "x", args=(f"touch {touched}",), job_id=f"attack-{name.replace('.', '-')}")
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    for name in names:
        said = failure(played, f"attack-{name.replace('.', '-')}")
        assert said.endswith("was refused: it calls {!r}, and workers run ['finetuner.job.run']".format(name or "x"))
    assert not touched.exists()
    assert attacker.intermediate_queue.get_job_ids() == []


def test_a_pickle_and_a_method_call_are_refused(played: Lab, tmp_path: Path) -> None:
    """The payload is JSON: a pickle is not even opened; and what is called is a function, never an attribute."""
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {touched}",)

    for job_id, payload in {
        "pickled": pickle.dumps(("finetuner.job.run", None, (Evil(), 1), {})),
        "instance": json.dumps(["finetuner.job.run", {"a": 1}, [1, 1], {}]).encode(),
        "unhashable": json.dumps([["finetuner.job.run"], None, [1, 1], {}]).encode(),
        "short": b"[]",
    }.items():
        job = Job.create("x", id=job_id, connection=played.connection, serializer="json", origin=QUEUE)
        job.save()
        played.connection.hset(job.key, "data", payload)
        played.connection.hset(job.key, "meta", pickle.dumps(Evil()))
        open_queue(played.connection).push_job_id(job_id)
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    for job_id in ("pickled", "instance", "unhashable", "short"):
        assert f"job {job_id} was refused" in failure(played, job_id)
    assert not touched.exists()
    assert played.journal("begin") == []


def test_callbacks_and_webhooks_of_a_job_are_not_called(played: Lab, tmp_path: Path) -> None:
    """RQ imports and calls them by name, in the worker and in whoever sweeps."""
    (tmp_path / "evil.py").touch()
    played.queue.request(7)
    played.connection.hset(
        "rq:job:train-7-1",
        mapping={
            "success_callback_name": "os.system",
            "failure_callback_name": "os.system",
            "stopped_callback_name": "os.system",
            "webhooks": '[{"url": "http://127.0.0.1:9/", "status": "finished"}]',
        },
    )
    job = SafeJob.fetch("train-7-1", connection=played.connection, serializer="json")
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)
    with played.worker(burst=True) as worker:
        assert worker.wait(120) == 0, played.logs()
    assert len(played.journal("end", 7)) == 1
    assert "127.0.0.1:9" not in played.logs()


def test_it_outlasts_a_redis_that_is_away(played: Lab) -> None:
    """While it waits, and while it trains: nothing is lost, and nothing runs twice."""
    with played.worker(seconds=600) as worker:
        played.until(lambda: count_listeners(played.connection) == 1)
        for moment in ("waiting", "training"):
            if moment == "training":
                played.queue.request(7)
                played.horse(7)
            played.take_queue_away(calls=4)
            assert worker.poll() is None, played.logs()
            assert played.server.start() == played.url
        assert played.journal("end", 7) == []
        played.finish()
        played.until(lambda: len(played.journal("end", 7)) == 1)
        played.until(lambda: played.queue.status(7).phase == "idle")
        assert worker.poll() is None, played.logs()
    assert len(played.journal("begin", 7)) == 1


def test_it_leaves_at_sigterm_while_it_waits(played: Lab) -> None:
    """And is no longer counted."""
    with played.worker() as worker, played.worker() as other:
        played.until(lambda: count_listeners(played.connection) == 2)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(120) == 0
        assert count_listeners(played.connection) == 1
        assert other.poll() is None


def test_a_horse_does_not_outlive_its_worker(played: Lab) -> None:
    """Else a second training would run beside it."""
    played.queue.request(7)
    with played.worker(seconds=600) as worker:
        horse = played.horse(7)
        worker.kill()
        worker.wait()
        played.until(lambda: not alive(horse))


def test_it_imports_no_torch() -> None:
    """The parent of forks must never have touched CUDA, and starts in a blink."""
    program = "import sys, finetuner.worker; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
