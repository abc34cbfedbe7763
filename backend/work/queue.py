"""Trainings on request: webhook -> RQ, by the dotted name "finetuner.job.run"; knows no trainer. Refreshes likewise.

A request counts `wanted` up by one and makes sure that some job will start after it: either one that waits already, or
a new one. A job trains for the `wanted` it finds when it starts. So a thousand requests in a second are one or two
trainings, and none is forgotten; a rate limit of one job a project keeps two trainings of a project apart.
"""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import JsonValue
from redis import Redis
from rq import Retry
from rq.rate_limit import RateLimit

from backend.ids import JobId, find_project_id, parse_project_id
from backend.work import rq_internals
from backend.work.connection import telling_consequence
from backend.work.jobs import HEARTBEAT_S, TRAINING, SafeJob, Work, the_queue
from backend.work.keys import Keys
from backend.work.scripts import Script
from backend.work.status import TrainingStatus, describe, fetch, status_of, text_of

log = logging.getLogger(__name__)

_RETRIES = 10  # of a training whose worker was killed; one that fails by itself is tried less often
_KEEP_S = 86_400
_KEEP_FAILED_S = 7 * 86_400
_LOOKS, _LOOK_S = 10, 0.005  # a job is written in a millisecond


class TrainingQueue:
    """Asks for trainings, or for another kind of work, and tells how they are. Thread-safe.

    Every method that takes a project raises:
        BadInput: the id is no project's.
        Unavailable: Redis is away.
    """

    def __init__(self, connection: Redis, *, job_seconds: int, work: Work = TRAINING) -> None:
        self._connection = connection
        self._job_seconds = job_seconds
        self._work = work
        self._queue = the_queue(connection, name=work.queue)

    def request(self, project_id: int) -> str:
        """Make sure that a training of this project starts after now; gives the id of its job.

        When it returns, Redis has acknowledged the job. Where it raises Unavailable, nothing can be relied upon to
        train.
        """
        keys = self._keys(project_id)
        with telling_consequence("nothing was queued"):
            # Read before the wish: what changes meanwhile may come too late for its training, and counts on.
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
        """How the project's training is."""
        keys = self._keys(project_id)
        with telling_consequence("the status is not known"):
            return status_of(self._connection, keys, under_way=self._work.under_way)

    def cancel(self, project_id: int) -> bool:
        """No longer want what was asked for so far; tells whether any of it waits or runs.

        What waits never begins. What runs ends at its next step (a refresh: after its batch), on whatever machine and
        after whatever restart; what is being published already stays.
        """
        keys = self._keys(project_id)
        busy = self.status(project_id).phase not in {"idle", "failed"}
        with telling_consequence("nothing was cancelled"):
            Script.CANCEL.run(
                self._connection,
                keys=(keys.wanted, keys.waiting, keys.cancelled, keys.last),
                args=(datetime.now(UTC).isoformat(timespec="seconds") if busy else "",),
            )
        return busy

    def projects(self) -> tuple[int, ...]:
        """The projects for which this kind of work was ever asked, in the order of their ids.

        Raises:
            Unavailable: Redis is away.
        """
        return self._projects_of(Keys(1, self._work.kind).wanted)

    def changed_projects(self) -> tuple[int, ...]:
        """The projects in which annotations have changed since this kind of work was asked for.

        Raises:
            Unavailable: Redis is away.
        """
        return self._projects_of(Keys(1, self._work.kind).changed)

    def _projects_of(self, first: str) -> tuple[int, ...]:
        """The projects that have such a key as project 1's."""
        with telling_consequence("its projects are not known"):
            names = self._connection.scan_iter(first.removesuffix("1") + "*")
            ids = (find_project_id(text_of(name).rpartition(":")[2]) for name in names)
            return tuple(sorted({project_id for project_id in ids if project_id is not None}))

    def workers(self) -> int:
        """How many workers listen for this kind of work.

        Raises:
            Unavailable: Redis is away.
        """
        return workers(self._connection, work=self._work)

    def job(self, job_id: str) -> Mapping[str, JsonValue] | None:
        """What is known of one job of either kind, as JSON; None if there is none, or it was forgotten.

        A finished job is forgotten after a day.

        Raises:
            Unavailable: Redis is away.
        """
        known = JobId.find(job_id)
        if known is None:
            return None
        with telling_consequence("the job is not known"):
            (job,) = fetch(self._connection, job_id)
            return None if job is None else describe(job, known)

    def sweep(self, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        """Give back to the queue what dead workers held: those silent for `heartbeat_s`. Call it every few seconds.

        Raises:
            Unavailable: Redis is away.
        """
        with telling_consequence("dead workers' trainings wait"):
            rq_internals.sweep(self._queue, heartbeat_s=heartbeat_s)

    def _keys(self, project_id: int) -> Keys:
        return Keys(parse_project_id(project_id), self._work.kind)

    def _ask(self, keys: Keys) -> tuple[int, str]:
        """Want a training: the number of the wish, and the id of the job that will serve it."""
        generation = 0
        for patience in (*["patient"] * _LOOKS, "enough"):  # its writer may have died: nobody waits for ever
            generation, waiting = Script.ASK.run(
                self._connection,
                keys=(keys.wanted, keys.waiting, keys.latest),
                args=(rq_internals.JOB_PREFIX, keys.job_prefix, patience, generation),
            )
            if waiting:
                return int(generation), text_of(waiting)
            time.sleep(_LOOK_S)
        raise AssertionError("the last look always gives a job")

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


def workers(connection: Redis, *, work: Work = TRAINING) -> int:
    """How many workers listen for this kind of work.

    Raises:
        Unavailable: Redis is away.
    """
    with telling_consequence("its workers are not known"):
        return rq_internals.count_workers(the_queue(connection, name=work.queue, job_class=SafeJob))
