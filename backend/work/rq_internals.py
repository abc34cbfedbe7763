"""Everything that leans on RQ's private keys in Redis. RQ may change them: a contract test pins the installed RQ.

All other modules use RQ's documented calls.
"""

import json
import re
from collections.abc import Mapping

from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.worker_registration import get_keys

from backend.work.connection import read_clock_s
from backend.work.jobs import HEARTBEAT_S
from backend.work.scripts import Script

JOB_PREFIX: str = Job.key_for("")  # of a job's hash; lua/ask.lua reads the hash's field `status`
_STUCK_S = 15.0
_SWEEP_MS = 10_000
_KILLS = "kills"  # a field of ours in a job's hash
_DEAD, _LIVE = 0, 1  # scores below and above which RQ's clean-up takes a running job for abandoned
_KILLED = re.compile(r"Work-horse terminated unexpectedly; .*?(\(signal \d+\))?; ?")


def write_meta(connection: Redis, job: Job, meta: Mapping[str, object]) -> None:
    """Write only the job's meta, as JSON, into its hash. `Job.save_meta` would wait for RQ's own connection.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    connection.hset(job.key, "meta", json.dumps(meta))


def count_kill(connection: Redis, job: Job) -> int:
    """Count that the process that did this job was killed, and return how often it was.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    return int(connection.hincrby(job.key, _KILLS, 1))


def explain_failure(text: str) -> str | None:
    """Return what RQ's own reason for a failure means, and the next step; None for any other text."""
    if "AbandonedJobError" in text:
        return (
            "its worker ended again and again without a word, so it was given up: look for the reason in the workers' "
            "logs and in the machine's memory, then ask for it again"
        )
    if (killed := _KILLED.match(text)) is not None:
        return _explain_kills(killed[1] or "")
    return None


def _explain_kills(by: str) -> str:
    """Return why a job whose process is killed is given up. `by`: the signal, in brackets, or ""."""
    return (
        f"its process was killed again and again{f' {by}' if by else ''}, as the system does where memory runs short: "
        "give the machine more memory, or make its steps smaller (SAMLOOP_PRESET), then ask for it again"
    )


def list_limited_jobs(connection: Redis, limit: str) -> tuple[str, ...]:
    """Return the ids of the jobs under this rate limit: the job that holds the slot, then the jobs that wait for it.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    registry = RateLimitRegistry(limit, connection=connection)
    return tuple(dict.fromkeys(registry.get_allowed_job_ids() + registry.get_rate_limited_job_ids()))


def count_workers(queue: Queue) -> int:
    """Return how many live workers listen to this queue.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    return sum(bool(queue.connection.exists(key)) for key in get_keys(queue))


def sweep(queue: Queue, *, heartbeat_s: float = HEARTBEAT_S, stuck_s: float = _STUCK_S) -> None:
    """Return the jobs of dead workers to the queue, and free their slots under rate limits.

    RQ does this only between two dequeues of a worker, under a lock that outlives a killed holder by 15 minutes. So the
    server does it every few seconds too. Only one sweep may run at a time: two would queue a job twice.

    Only Redis' clock counts. RQ compares the worker's clock with the sweeper's: where they differ by more than a
    heartbeat it gives a live worker's job to another worker, or a dead worker's to none.

    Args:
        queue: the queue to sweep.
        heartbeat_s: a worker silent for longer is dead, s.
        stuck_s: how long a job may stay between the queue and its start, s.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    connection = queue.connection
    # After an outage of Redis, heartbeats look late because workers could not send them.
    if connection.info("server")["uptime_in_seconds"] < heartbeat_s:
        return
    sweeping = f"samloop:sweeping:{queue.name}"
    if not connection.set(sweeping, "1", nx=True, px=_SWEEP_MS):
        return
    try:
        _put_back_abandoned(queue)
        for registry in (FinishedJobRegistry, FailedJobRegistry):
            registry(queue=queue, job_class=queue.job_class).cleanup()
        _put_back_stuck(queue, stuck_s=stuck_s)
        for rate_limit in RateLimitRegistry.all(connection):
            rate_limit.cleanup()
    finally:
        connection.delete(sweeping)


def _put_back_abandoned(queue: Queue) -> None:
    """Let RQ put back the jobs whose execution has no key any more: Redis drops it after a heartbeat's time."""
    connection, started = queue.connection, StartedJobRegistry(queue=queue, job_class=queue.job_class)
    for job_id, execution_id in started.get_job_and_execution_ids(cleanup=False):
        execution = Execution(execution_id, job_id, connection)
        if not connection.exists(execution.key):
            connection.zadd(started.key, {execution.composite_key: _DEAD}, xx=True)
    started.cleanup(timestamp=_LIVE)


def _put_back_stuck(queue: Queue, *, stuck_s: float) -> None:
    connection, stuck = queue.connection, queue.intermediate_queue
    now_s = read_clock_s(connection)
    running = set(StartedJobRegistry(queue=queue).get_job_ids(cleanup=False))
    for job_id in stuck.get_job_ids():
        if job_id in running:
            continue
        seen = f"samloop:stuck:{job_id}"
        connection.set(seen, now_s, nx=True, ex=60)
        if now_s - float(connection.get(seen) or now_s) >= stuck_s:
            Script.PUT_BACK.run(connection, keys=(stuck.key, queue.key, Job.key_for(job_id), seen), args=(job_id,))
