"""Trainings on request: webhook -> RQ, by the dotted name "finetuner.job.run"; knows no trainer. Refreshes likewise.

A request counts `wanted` up by one and makes sure that some job will start after it: either one that waits already, or
a new one. A job trains for the `wanted` it finds when it starts. So a thousand requests in a second are one or two
trainings, and none is forgotten; a rate limit of one job a project keeps two trainings of a project apart.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import JobStatus
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.serializers import JSONSerializer
from rq.worker_registration import get_keys

from backend.errors import Unavailable
from backend.ids import JobId, JobKind, parse_project_id
from backend.work.jobs import QUEUE, TRAIN, Keys, SafeJob, connect, sweep, the_queue

__all__ = ["TRAINING", "TrainingQueue", "TrainingStatus", "Work", "connect", "workers"]

log = logging.getLogger(__name__)

_RETRIES = 10  # of a training whose worker was killed; one that fails by itself is tried less often
_KEEP_S = 86_400
_KEEP_FAILED_S = 7 * 86_400

# -> {generation, id of the job that will serve it}. A waiting job counts only while it can still be seen to wait: its
# hash may not be written yet, or a worker may have it already. While it is not written, who is patient gets no id and
# asks again: else every one of many requests at the same time would make a job.
_ASK = """
local generation = tonumber(ARGV[4])
if generation == 0 then
    generation = redis.call('INCR', KEYS[1])
end
local waiting = redis.call('GET', KEYS[2])
if waiting then
    local status = redis.call('HGET', ARGV[1] .. waiting, 'status')
    if status == 'queued' or status == 'rate_limited' then
        return {generation, waiting}
    end
    if not status and ARGV[3] == 'patient' then
        return {generation, ''}
    end
end
local id = ARGV[2] .. string.format('%d', generation)
redis.call('SET', KEYS[2], id)
redis.call('SET', KEYS[3], id)
return {generation, id}
"""


_LOOKS, _LOOK_S = 10, 0.005  # a job is written in a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStatus:
    """Where a project's training is. `queued` counts its waiting jobs; `error` is set in phase `failed` alone."""

    phase: Literal["idle", "queued", "training", "refreshing", "failed"]
    job_id: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] | None = None
    queued: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A kind of work that is asked for by project: how it is called, and which function does it on which queue."""

    kind: JobKind
    noun: str
    under_way: Literal["training", "refreshing"]
    function: str
    queue: str


TRAINING = Work(kind="train", noun="training", under_way="training", function=TRAIN, queue=QUEUE)


class TrainingQueue:
    """Asks for trainings, or for another kind of work, and tells how they are. Thread-safe."""

    def __init__(self, connection: Redis, *, job_seconds: int, work: Work = TRAINING) -> None:
        self._connection = connection
        self._job_seconds = job_seconds
        self._work = work
        self._queue = the_queue(connection, name=work.queue)

    def request(self, project_id: int) -> str:
        """Make sure that a training of this project starts after now; gives the id of its job.

        When it returns, Redis has acknowledged the job.

        Raises:
            BadInput: the id is no positive whole number.
            Unavailable: Redis is away; nothing can be relied upon to train.
        """
        keys = _keys(project_id, self._work)
        with _redis("nothing was queued"):
            generation, job_id = self._ask(keys)
            if job_id == keys.job_id(generation):
                self._enqueue(project_id, generation)
        log.info(
            "a %s of project %d is wanted: %s",
            self._work.noun,
            project_id,
            job_id,
            extra={"event": f"{self._work.noun}.requested", "project_id": project_id, "job_id": job_id},
        )
        return job_id

    def _ask(self, keys: Keys) -> tuple[int, str]:
        """Want a training: the number of the wish, and the id of the job that will serve it."""
        generation = 0
        for patience in (*["patient"] * _LOOKS, "enough"):  # its writer may have died: nobody waits for ever
            generation, waiting = self._connection.eval(
                _ASK,
                3,
                keys.wanted,
                keys.waiting,
                keys.latest,
                SafeJob.key_for(""),
                keys.job_id(0)[:-1],
                patience,
                generation,
            )
            if waiting:
                return int(generation), _text(waiting)
            time.sleep(_LOOK_S)
        raise AssertionError("the last look always gives a job")

    def status(self, project_id: int) -> TrainingStatus:
        """How the project's training is.

        Raises:
            BadInput: the id is no positive whole number.
            Unavailable: Redis is away.
        """
        keys = _keys(project_id, self._work)
        with _redis("the status is not known"):
            limit = RateLimitRegistry(_limit(keys), connection=self._connection)
            ids = dict.fromkeys(limit.get_allowed_job_ids() + limit.get_rate_limited_job_ids())
            jobs = [job for job in self._fetch(*ids) if job is not None]
            last = {_text(name): _text(value) for name, value in self._connection.hgetall(keys.last).items()}
            verdict = json.loads(last["verdict"]) if "verdict" in last else None
            running = [job for job in jobs if job.get_status(refresh=False) == JobStatus.STARTED]
            queued = [
                job
                for job in jobs
                if job.get_status(refresh=False) in {JobStatus.QUEUED, JobStatus.RATE_LIMITED, JobStatus.SCHEDULED}
            ]
            if running:
                return TrainingStatus(
                    phase=self._work.under_way,
                    job_id=running[0].id,
                    progress=_progress(running[0]),
                    verdict=verdict,
                    queued=len(queued),
                )
            if queued:
                return TrainingStatus(phase="queued", job_id=queued[0].id, verdict=verdict, queued=len(queued))
            return self._at_rest(keys, last=last, verdict=verdict)

    def cancel(self, project_id: int) -> bool:
        """No longer want what was asked for so far; tells whether any of it waits or runs.

        What runs ends at its next step (a refresh: after its batch), and what it did stays. Trainings do not look.

        Raises:
            BadInput: the id is no positive whole number.
            Unavailable: Redis is away.
        """
        keys = _keys(project_id, self._work)
        busy = self.status(project_id).phase not in {"idle", "failed"}
        with _redis("nothing was cancelled"):
            self._connection.set(keys.cancelled, int(self._connection.get(keys.wanted) or 0))
        return busy

    def job(self, job_id: str) -> Mapping[str, Any] | None:
        """What is known of one job, as JSON; None if there is none, or it was forgotten (finished: after a day).

        Raises:
            Unavailable: Redis is away.
        """
        known = JobId.find(job_id)
        if known is None:
            return None
        with _redis("the job is not known"):
            (job,) = self._fetch(job_id)
            if job is None:
                return None
            status = job.get_status(refresh=False)
            return {
                "job": job_id,
                "project": known.project_id,
                "job_status": str(status.value) if status else None,
                "created_at": _iso(job.created_at),
                "started_at": _iso(job.started_at),
                "ended_at": _iso(job.ended_at),
                "progress": _progress(job),
                "result": job.return_value() if status == JobStatus.FINISHED else None,
                "error": _error(job) if status == JobStatus.FAILED else None,
            }

    def sweep(self) -> None:
        """Give back to the queue what dead workers held. The server calls it every few seconds.

        Raises:
            Unavailable: Redis is away.
        """
        with _redis("dead workers' trainings wait"):
            sweep(self._queue)

    def _enqueue(self, project_id: int, generation: int) -> None:
        keys = Keys(project_id, self._work.kind)
        self._queue.enqueue_call(
            self._work.function,
            args=(project_id, generation),
            job_id=keys.job_id(generation),
            timeout=self._job_seconds,
            retry=Retry(max=_RETRIES),
            rate_limit=RateLimit(_limit(keys), 1),
            result_ttl=_KEEP_S,
            failure_ttl=_KEEP_FAILED_S,
            description=f"{self._work.kind} project {project_id}, request {generation}",
        )

    def _fetch(self, *job_ids: str) -> list[SafeJob | None]:
        jobs: list[SafeJob | None] = SafeJob.fetch_many(  # type: ignore[assignment]
            job_ids, connection=self._connection, serializer=JSONSerializer
        )
        return jobs

    def _at_rest(self, keys: Keys, *, last: Mapping[str, str], verdict: Mapping[str, Any] | None) -> TrainingStatus:
        latest = self._connection.get(keys.latest)
        job = self._fetch(_text(latest))[0] if latest else None
        if job is None or job.get_status(refresh=False) != JobStatus.FAILED:
            return TrainingStatus(phase="idle", job_id=job.id if job else None, verdict=verdict)
        told = "error" in last and last.get("failed") == job.id
        error = last["error"] if told else _error(job)
        return TrainingStatus(phase="failed", job_id=job.id, verdict=verdict, error=error)


def workers(connection: Redis, *, work: Work = TRAINING) -> int:
    """How many workers listen for this kind of work.

    Raises:
        Unavailable: Redis is away.
    """
    with _redis("its workers are not known"):
        return sum(bool(connection.exists(key)) for key in get_keys(the_queue(connection, name=work.queue)))


@contextmanager
def _redis(consequence: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, NoSuchJobError) as fault:
        log.warning("the queue is away: %s", fault, extra={"event": "queue.away"})
        raise Unavailable(f"the queue does not answer, so {consequence}: is Redis (REDIS_URL) up? Try again") from fault


def _keys(project_id: int, work: Work) -> Keys:
    return Keys(parse_project_id(project_id), work.kind)


def _limit(keys: Keys) -> str:
    return f"{keys.kind}:{keys.project_id}"


def _progress(job: SafeJob) -> dict[str, Any]:
    progress = job.meta.get("progress")
    return progress if isinstance(progress, dict) else {}


def _error(job: SafeJob) -> str:
    """The last line of the traceback: a sentence for people; the worker's log has the rest."""
    result = job.latest_result()
    lines = result.exc_string.strip().splitlines() if result and result.exc_string else []
    return lines[-1][:300] if lines else "it failed, and the worker's log tells why"


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _iso(moment: Any) -> str | None:  # noqa: ANN401 - a datetime or None; RQ's attributes carry no types
    return moment.isoformat() if moment else None
