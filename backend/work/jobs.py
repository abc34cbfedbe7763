"""What both ends of the queue agree on: the connection, the names, and which jobs may run at all.

The server asks for work (queue, follower), workers do it (finetuner.worker, finetuner.job), and neither imports the
other. Who can write to Redis could make RQ run any function with any arguments: RQ calls what a job
names, pickle or JSON. So a job here is JSON, runs only if its function is on a list, and has no callbacks and no
webhooks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer

from backend.errors import RefusedJob, SettingsError
from backend.ids import JobId, JobKind, parse_project_id

QUEUE, REFRESH_QUEUE = "samloop", "samloop-refresh"
TRAIN, REFRESH = "finetuner.job.run", "finetuner.refreshing.run"
RUNNABLE = frozenset({TRAIN})
REFRESHING = frozenset({REFRESH})
HEARTBEAT_S = 12  # a worker that has said nothing for so long is dead; it speaks every 3 s
_STUCK_S = 15.0
_SWEEP_MS = 10_000

# A job that was taken off the queue and never started lies in RQ's intermediate list: back to the front of the queue.
_PUT_BACK = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) > 0 and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[1])
end
redis.call('DEL', KEYS[4])
"""


class SafeJob(Job):
    """A job that calls nothing but the functions on `runnable`."""

    runnable: ClassVar[frozenset[str]] = RUNNABLE
    success_callback = None
    failure_callback = None
    stopped_callback = None

    @property
    def func(self) -> Callable[..., Any]:
        """The function, imported only now that it is known to be on the list.

        Raises:
            RefusedJob: it is not.
        """
        if fault := self.refusal():
            raise RefusedJob(fault)
        function: Callable[..., Any] = super().func
        return function

    def refusal(self) -> str | None:
        """Why this job must not run, or None. Nothing is imported."""
        try:
            name, instance = self.func_name, self.instance
        except Exception:  # noqa: BLE001 - whatever a foreign payload makes the parser raise
            return f"job {self.id} was refused: its payload is not ours"
        if not isinstance(name, str) or name not in self.runnable or instance is not None:
            return f"job {self.id} was refused: it calls {str(name)[:100]!r}, and workers run {sorted(self.runnable)}"
        return None

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Send none: their addresses would come from Redis."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where Redis keeps what is known of one project's trainings, or of its refreshes (`kind`: train or refresh)."""

    project_id: int
    kind: JobKind = "train"

    def _key(self, name: str) -> str:
        return (
            f"samloop:{name}:{self.project_id}"
            if self.kind == "train"
            else f"samloop:{self.kind}:{name}:{self.project_id}"
        )

    @property
    def wanted(self) -> str:
        """Counter of the trainings asked for: the latest generation."""
        return self._key("wanted")

    @property
    def served(self) -> str:
        """The latest generation that a finished training stands for."""
        return self._key("served")

    @property
    def waiting(self) -> str:
        """Id of the job that was queued last and has not read `wanted` yet."""
        return self._key("waiting")

    @property
    def latest(self) -> str:
        """Id of the job that was queued last."""
        return self._key("latest")

    @property
    def last(self) -> str:
        """Hash of what came of the last training: `verdict` (JSON), `error` and `failed` (a job's id)."""
        return self._key("last")

    @property
    def lease(self) -> str:
        """Who trains now."""
        return self._key("lease")

    @property
    def fence(self) -> str:
        """Counter of the leases given."""
        return self._key("fence")

    @property
    def cancelled(self) -> str:
        """The latest generation that somebody no longer wants."""
        return self._key("cancelled")

    @property
    def followed(self) -> str:
        """Number of the latest decision of the registry that was followed by a request."""
        return self._key("followed")

    def job_id(self, generation: int) -> str:
        """Id of the job that was queued for this generation."""
        return str(JobId(kind=self.kind, project_id=parse_project_id(self.project_id), generation=generation))


# A Redis that is away refuses at once; one whose disk is busy (every write is synced) answers after seconds.
_ANSWER_S = 10.0


def connect(redis_url: str, *, patient: bool = False) -> Redis:
    """A connection to the queue; nothing is sent before it is used.

    Patient ones outlast a Redis that is away for a minute or two (workers: they have all the time); the others fail
    within seconds, so that whoever asked for a training is told that it was not queued.

    Raises:
        SettingsError: an option in the URL that there is not.
    """
    # Two tries at once: a connection that Redis closed while it was idle must not look like a Redis that is away.
    retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=2), 120) if patient else Retry(NoBackoff(), 1)
    limits = {"socket_connect_timeout": 2, "socket_timeout": None if patient else _ANSWER_S}
    try:
        connection = Redis.from_url(redis_url, retry=retry, protocol=2, **limits)
        connection.connection_pool.make_connection()  # tells of options that there are not; nothing is sent
    except (ValueError, TypeError, RedisError) as fault:
        raise SettingsError(f"REDIS_URL has an option that cannot be used: {fault}") from None
    return connection


def the_queue(connection: Redis, *, name: str = QUEUE, job_class: type[SafeJob] = SafeJob) -> Queue:
    """The queue of one kind of work. A worker listens to one: RQ loses the job of one killed between two queues."""
    return Queue(name, connection=connection, job_class=job_class, serializer=JSONSerializer)


def sweep(queue: Queue) -> None:
    """Give back to the queue what dead workers held, and free the slots that they kept.

    RQ does this only between two dequeues of a worker, under a lock that outlives a killed holder by a quarter of an
    hour; here the server does it every few seconds too. At most one at a time: two would queue a job twice.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    connection = queue.connection
    # Heartbeats that could not be sent while Redis was away look late when it is back.
    if connection.info("server")["uptime_in_seconds"] < HEARTBEAT_S:
        return
    sweeping = f"samloop:sweeping:{queue.name}"
    if not connection.set(sweeping, "1", nx=True, px=_SWEEP_MS):
        return
    try:
        for registry in (StartedJobRegistry, FinishedJobRegistry, FailedJobRegistry):
            registry(queue=queue, job_class=queue.job_class).cleanup()
        _put_back_stuck(queue)
        for rate_limit in RateLimitRegistry.all(connection):
            rate_limit.cleanup()
    finally:
        connection.delete(sweeping)


def _put_back_stuck(queue: Queue) -> None:
    connection, stuck = queue.connection, queue.intermediate_queue
    running = set(StartedJobRegistry(queue=queue).get_job_ids(cleanup=False))
    for job_id in stuck.get_job_ids():
        if job_id in running:
            continue
        seen = f"samloop:stuck:{job_id}"
        connection.set(seen, time.time(), nx=True, ex=60)
        if time.time() - float(connection.get(seen) or time.time()) >= _STUCK_S:
            connection.eval(_PUT_BACK, 4, stuck.key, queue.key, Job.key_for(job_id), seen, job_id)
