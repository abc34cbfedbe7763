"""Everything that leans on RQ's private keys in Redis. RQ may change them: a contract test pins the installed RQ.

All other modules use RQ's documented calls.
"""

import json
import time
from collections.abc import Mapping

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.worker_registration import get_keys

from backend.work.jobs import HEARTBEAT_S
from backend.work.scripts import Script

JOB_PREFIX: str = Job.key_for("")  # of a job's hash; lua/ask.lua reads the hash's field `status`
_STUCK_S = 15.0
_SWEEP_MS = 10_000


def write_meta(connection: Redis, job: Job, meta: Mapping[str, object]) -> None:
    """Write only the job's meta, as JSON, into its hash. `Job.save_meta` would wait for RQ's own connection.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    connection.hset(job.key, "meta", json.dumps(meta))


def list_limited_jobs(connection: Redis, limit: str) -> tuple[str, ...]:
    """Return the ids of the jobs under this rate limit: the job that holds the slot, then the jobs that wait for it.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    registry = RateLimitRegistry(limit, connection=connection)
    return tuple(dict.fromkeys(registry.get_allowed_job_ids() + registry.get_rate_limited_job_ids()))


def count_workers(queue: Queue) -> int:
    """Return how many live workers listen to this queue.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    return sum(bool(queue.connection.exists(key)) for key in get_keys(queue))


def sweep(queue: Queue, *, heartbeat_s: float = HEARTBEAT_S, stuck_s: float = _STUCK_S) -> None:
    """Return the jobs of dead workers to the queue, and free their slots under rate limits.

    RQ does this only between two dequeues of a worker, under a lock that outlives a killed holder by 15 minutes. So the
    server does it every few seconds too. Only one sweep may run at a time: two would queue a job twice.

    Args:
        queue: the queue to sweep.
        heartbeat_s: a worker silent for longer is dead, s.
        stuck_s: how long a job may stay between the queue and its start, s.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    connection = queue.connection
    # After an outage of Redis, heartbeats look late because workers could not send them.
    if connection.info("server")["uptime_in_seconds"] < heartbeat_s:
        return
    sweeping = f"samloop:sweeping:{queue.name}"
    if not connection.set(sweeping, "1", nx=True, px=_SWEEP_MS):
        return
    try:
        for registry in (StartedJobRegistry, FinishedJobRegistry, FailedJobRegistry):
            registry(queue=queue, job_class=queue.job_class).cleanup()
        _put_back_stuck(queue, stuck_s=stuck_s)
        for rate_limit in RateLimitRegistry.all(connection):
            rate_limit.cleanup()
    finally:
        connection.delete(sweeping)


def _put_back_stuck(queue: Queue, *, stuck_s: float) -> None:
    connection, stuck = queue.connection, queue.intermediate_queue
    running = set(StartedJobRegistry(queue=queue).get_job_ids(cleanup=False))
    for job_id in stuck.get_job_ids():
        if job_id in running:
            continue
        seen = f"samloop:stuck:{job_id}"
        connection.set(seen, time.time(), nx=True, ex=60)
        if time.time() - float(connection.get(seen) or time.time()) >= stuck_s:
            Script.PUT_BACK.run(connection, keys=(stuck.key, queue.key, Job.key_for(job_id), seen), args=(job_id,))
