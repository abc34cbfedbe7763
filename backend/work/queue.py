"""Asks RQ for trainings, by the dotted name "finetuner.job.run", and for refreshes. Imports no trainer.

A request raises `wanted` by one and makes sure that a job starts after it: a job that already waits, or a new job. When
a job starts, it covers every request up to `wanted`. So a thousand requests in a second become one or two trainings,
and no request is lost. A rate limit lets one training of a project run at a time.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import JsonValue
from redis import Redis
from rq import Retry
from rq.rate_limit import RateLimit

from backend.ids import JobId, JobKind, find_project_id, parse_project_id
from backend.work import rq_internals
from backend.work.connection import decode_text, name_consequence
from backend.work.jobs import HEARTBEAT_S, TRAINING, SafeJob, Work, open_queue
from backend.work.keys import Keys
from backend.work.scripts import Script
from backend.work.status import TrainingStatus, describe, fetch_jobs, read_status

log = logging.getLogger(__name__)

Outcome = Literal["promoted", "not_promoted", "done", "failed", "cancelled"]
OUTCOMES: Mapping[JobKind, tuple[Outcome, ...]] = {
    "train": ("promoted", "not_promoted", "failed", "cancelled"),
    "refresh": ("done", "failed", "cancelled"),
}
_RETRIES = 10  # of a training whose worker was killed; a training that fails by itself is retried less often
_KEEP_S = 86_400
_KEEP_FAILED_S = 7 * 86_400
_LOOKS, _LOOK_S = 10, 0.005  # RQ writes a job within a millisecond


class TrainingQueue:
    """Requests trainings, or another kind of work, and reports their status. Thread-safe.

    Every method that takes a project raises:
        BadInput: the id is not a project's.
        Unavailable: Redis cannot be reached.
    """

    def __init__(self, connection: Redis, *, job_seconds: int, work: Work = TRAINING) -> None:
        self._connection = connection
        self._job_seconds = job_seconds
        self._work = work
        self._queue = open_queue(connection, name=work.queue)

    def request(self, project_id: int) -> str:
        """Make sure that a training of this project starts after this call, and return its job's id.

        On return, Redis has acknowledged the job. After Unavailable, do not count on a training.
        """
        keys = self._keys(project_id)
        with name_consequence("nothing was queued"):
            # Read before the request: a change in between may miss this training, so it still counts for the next.
            changed = self._connection.smembers(keys.changed)
            generation, job_id = self._ask(keys)
            if job_id == keys.job_id(generation):
                self._enqueue(project_id, generation)
            if changed:
                self._connection.srem(keys.changed, *changed)
        log.info(
            "a %s of project %d is wanted: %s",
            self._work.noun,
            project_id,
            job_id,
            extra={"event": f"{self._work.noun}.requested", "project_id": project_id, "job_id": job_id},
        )
        return job_id

    def status(self, project_id: int) -> TrainingStatus:
        """Return the status of the project's training."""
        keys = self._keys(project_id)
        with name_consequence("the status is not known"):
            return read_status(self._connection, keys, under_way=self._work.under_way)

    def cancel(self, project_id: int) -> bool:
        """Cancel everything that was requested so far; return whether any of it waits or runs.

        A waiting job never begins. A running job ends at its next step (a refresh: after its batch), on any machine and
        after any restart. A version that is already being published stays.
        """
        keys = self._keys(project_id)
        busy = self.status(project_id).phase not in {"idle", "failed"}
        with name_consequence("nothing was cancelled"):
            Script.CANCEL.run(
                self._connection,
                keys=(keys.wanted, keys.waiting, keys.cancelled, keys.last),
                args=(datetime.now(UTC).isoformat(timespec="seconds") if busy else "",),
            )
        return busy

    def projects(self) -> tuple[int, ...]:
        """Return the projects that ever requested this kind of work, by ascending id.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        return self._projects_of(Keys(1, self._work.kind).wanted)

    def list_changed_projects(self) -> tuple[int, ...]:
        """Return the projects whose annotations have changed since the last request for this kind of work.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        return self._projects_of(Keys(1, self._work.kind).changed)

    def _projects_of(self, first: str) -> tuple[int, ...]:
        """Return the projects that have a key like project 1's `first`."""
        with name_consequence("its projects are not known"):
            names = self._connection.scan_iter(first.removesuffix("1") + "*")
            ids = (find_project_id(decode_text(name).rpartition(":")[2]) for name in names)
            return tuple(sorted({project_id for project_id in ids if project_id is not None}))

    def workers(self) -> int:
        """Return how many workers listen for this kind of work.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        return count_listeners(self._connection, work=self._work)

    def job(self, job_id: str) -> Mapping[str, JsonValue] | None:
        """Return one job of either kind as JSON; None if there is no such job, or it has expired.

        A finished job expires after a day.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        known = JobId.find(job_id)
        if known is None:
            return None
        with name_consequence("the job is not known"):
            (job,) = fetch_jobs(self._connection, job_id)
            return None if job is None else describe(job, known)

    def sweep(self, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Return the jobs of dead workers, silent for `heartbeat_s`, to the queue. Call it every few seconds.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with name_consequence("dead workers' trainings wait"):
            rq_internals.sweep(self._queue, heartbeat_s=heartbeat_s)

    def _keys(self, project_id: int) -> Keys:
        return Keys(parse_project_id(project_id), self._work.kind)

    def _ask(self, keys: Keys) -> tuple[int, str]:
        """Request a training; return the request's number and the id of the job that covers it."""
        generation = 0
        for patience in (*["patient"] * _LOOKS, "enough"):  # the job's writer may have died: do not wait forever
            generation, waiting = Script.ASK.run(
                self._connection,
                keys=(keys.wanted, keys.waiting, keys.latest),
                args=(rq_internals.JOB_PREFIX, keys.job_prefix, patience, generation),
            )
            if waiting:
                return int(generation), decode_text(waiting)
            time.sleep(_LOOK_S)
        raise AssertionError("the last look always returns a job")

    def _enqueue(self, project_id: int, generation: int) -> None:
        keys = self._keys(project_id)
        self._queue.enqueue_call(
            self._work.function,
            args=(project_id, generation),
            job_id=keys.job_id(generation),
            timeout=self._job_seconds,
            retry=Retry(max=_RETRIES),
            rate_limit=RateLimit(keys.limit, 1),
            result_ttl=_KEEP_S,
            failure_ttl=_KEEP_FAILED_S,
            description=f"{self._work.kind} project {project_id}, request {generation}",
        )


def count_listeners(connection: Redis, *, work: Work = TRAINING) -> int:
    """Return how many workers listen for this kind of work.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with name_consequence("its workers are not known"):
        return rq_internals.count_workers(open_queue(connection, name=work.queue, job_class=SafeJob))


def measure_waiting(connection: Redis, *, work: Work = TRAINING) -> tuple[int, float | None]:
    """Return how many jobs of this kind wait for a worker, and since when the first does, s since 1970.

    A job that waits for another of its own project is not among them: a further worker would not help it.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with name_consequence("what waits is not known"):
        queue = open_queue(connection, name=work.queue, job_class=SafeJob)
        count, first = queue.count, next(iter(queue.get_jobs(0, 1)), None)
    return count, first.enqueued_at.timestamp() if first is not None and first.enqueued_at is not None else None


def count_outcome(connection: Redis, outcome: Outcome, *, kind: JobKind) -> None:
    """Count a job of this kind that has ended so.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    connection.hincrby(Keys(1, kind).outcomes, outcome, 1)


def read_outcomes(connection: Redis, *, work: Work = TRAINING) -> dict[Outcome, int]:
    """Return how many jobs of this kind ended in which way, over all projects.

    Raises:
        Unavailable: Redis cannot be reached.
    """
    with name_consequence("how jobs ended is not known"):
        counts = connection.hgetall(Keys(1, work.kind).outcomes)
    known = {decode_text(name): int(count) for name, count in counts.items()}
    return {outcome: known.get(outcome, 0) for outcome in OUTCOMES[work.kind]}
