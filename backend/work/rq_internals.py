"""All that leans on how RQ keeps its books in Redis, which RQ may change: a contract test pins it to the installed RQ.

Everything else uses RQ's documented calls.
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

JOB_PREFIX: str = Job.key_for("")  # of the hash that holds a job; its field `status` is what lua/ask.lua looks at
_STUCK_S = 15.0
_SWEEP_MS = 10_000


def write_meta(connection: Redis, job: Job, meta: Mapping[str, object]) -> None:
    """Put the job's meta into its hash as JSON, and nothing else: `Job.save_meta` waits for RQ's own connection.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    connection.hset(job.key, "meta", json.dumps(meta))


def limited_job_ids(connection: Redis, limit: str) -> tuple[str, ...]:
    """Ids of the jobs under this rate limit: the job that holds the slot first, then those that wait for it.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    registry = RateLimitRegistry(limit, connection=connection)
    return tuple(dict.fromkeys(registry.get_allowed_job_ids() + registry.get_rate_limited_job_ids()))


def count_workers(queue: Queue) -> int:
    """How many workers that listen to this queue have said something of late.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    return sum(bool(queue.connection.exists(key)) for key in get_keys(queue))


def sweep(queue: Queue, *, heartbeat_s: float = HEARTBEAT_S, stuck_s: float = _STUCK_S) -> None:
    """Give back to the queue what dead workers held, and free the slots that they kept.

    RQ does this only between two dequeues of a worker, under a lock that outlives a killed holder by a quarter of an
    hour; here the server does it every few seconds too. At most one at a time: two would queue a job twice.

    Args:
        queue: whose jobs are looked at.
        heartbeat_s: seconds of silence after which a worker is dead.
        stuck_s: seconds that a job may lie between the queue and its start.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    connection = queue.connection
    # Heartbeats that could not be sent while Redis was away look late when it is back.
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
