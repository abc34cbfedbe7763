"""Where a project's training is, and what is known of a job: what RQ and our own keys say, put into words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue
from redis import Redis
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from backend.ids import JobId
from backend.work.jobs import SafeJob
from backend.work.keys import Keys
from backend.work.losses import Curve, read_losses
from backend.work.rq_internals import limited_job_ids

TARGET = "target"  # in a job's meta: the latest request that a running job stands for
LOSSES = "losses"  # in a job's meta: the curves of losses so far
_WAITING = frozenset({JobStatus.QUEUED, JobStatus.RATE_LIMITED, JobStatus.SCHEDULED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStatus:
    """Where a project's training is.

    `queued` counts the waiting jobs that somebody still wants; `error` is set in phase `failed` alone. `cancelled`:
    when the last training was cancelled, ISO 8601 in UTC; None once a later one has ended. `losses`: those of
    a running training, by what it learns.
    """

    phase: Literal["idle", "queued", "training", "refreshing", "failed"]
    job_id: str | None = None
    progress: Mapping[str, JsonValue] = field(default_factory=dict)
    verdict: Mapping[str, JsonValue] | None = None
    queued: int = 0
    error: str | None = None
    cancelled: str | None = None
    losses: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """How much of the phase under way is done, in [0, 1]: of the bound that ends it first; None: not known."""
        told = [_number(self.progress.get(name)) for name in ("share", "done", "total")]
        share, done, total = told
        if share is None and done is not None and total:
            share = done / total
        return None if share is None else min(max(share, 0.0), 1.0)

    @property
    def left_s(self) -> float | None:
        """Seconds until the phase under way ends, as far as they can be told."""
        return _number(self.progress.get("left_s"))


def status_of(connection: Redis, keys: Keys, *, under_way: Literal["training", "refreshing"]) -> TrainingStatus:
    """Where the work of this project and kind is; `under_way` is the phase of work that runs.

    Raises:
        redis.exceptions.RedisError: Redis is away.
        rq.exceptions.NoSuchJobError: a job was forgotten while it was looked at.
    """
    jobs = [job for job in fetch(connection, *limited_job_ids(connection, keys.limit)) if job is not None]
    last = {text_of(name): text_of(value) for name, value in connection.hgetall(keys.last).items()}
    verdict = json.loads(last["verdict"]) if "verdict" in last else None
    running = [job for job in jobs if job.get_status(refresh=False) == JobStatus.STARTED]
    unwanted = int(connection.get(keys.cancelled) or 0)
    queued = [job for job in jobs if job.get_status(refresh=False) in _WAITING and not _is_unwanted(job, unwanted)]
    if running:
        return TrainingStatus(
            phase=under_way,
            job_id=running[0].id,
            progress=_progress(running[0]),
            losses=read_losses(running[0].meta.get(LOSSES)),
            verdict=verdict,
            queued=len(queued),
            cancelled=last.get("cancelled") if _target(running[0]) <= unwanted else None,
        )
    if queued:
        return TrainingStatus(phase="queued", job_id=queued[0].id, verdict=verdict, queued=len(queued))
    return _at_rest(connection, keys, last=last, verdict=verdict)


def describe(job: SafeJob, job_id: JobId) -> Mapping[str, JsonValue]:
    """What is known of one job, as JSON; times are ISO 8601.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    status = job.get_status(refresh=False)
    return {
        "job": str(job_id),
        "project": job_id.project_id,
        "job_status": str(status.value) if status else None,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "ended_at": _iso(job.ended_at),
        "progress": _progress(job),
        "result": job.return_value() if status == JobStatus.FINISHED else None,
        "error": _error(job) if status == JobStatus.FAILED else None,
    }


def fetch(connection: Redis, *job_ids: str) -> list[SafeJob | None]:
    """The jobs of these ids; None for a job that there is not.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    jobs: list[SafeJob | None] = SafeJob.fetch_many(  # type: ignore[assignment]
        job_ids, connection=connection, serializer=JSONSerializer
    )
    return jobs


def text_of(value: bytes | str) -> str:
    """What Redis answered, as text."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _target(job: SafeJob) -> int:
    target, job_id = job.meta.get(TARGET), JobId.find(job.id)
    return target if isinstance(target, int) else job_id.generation if job_id else 0


def _is_unwanted(job: SafeJob, generation: int) -> bool:
    """Whether the job was queued for a request that was cancelled."""
    job_id = JobId.find(job.id)
    return job_id is not None and job_id.generation <= generation


def _at_rest(
    connection: Redis, keys: Keys, *, last: Mapping[str, str], verdict: Mapping[str, JsonValue] | None
) -> TrainingStatus:
    latest = connection.get(keys.latest)
    job = fetch(connection, text_of(latest))[0] if latest else None
    if job is None or job.get_status(refresh=False) != JobStatus.FAILED:
        cancelled = last.get("cancelled")
        return TrainingStatus(phase="idle", job_id=job.id if job else None, verdict=verdict, cancelled=cancelled)
    is_recorded = "error" in last and last.get("failed") == job.id
    error = last["error"] if is_recorded else _error(job)
    return TrainingStatus(phase="failed", job_id=job.id, verdict=verdict, error=error)


def _number(value: JsonValue) -> float | None:
    """A figure of the progress, which comes out of Redis; None for anything but a number."""
    return float(value) if isinstance(value, int | float) else None


def _progress(job: SafeJob) -> dict[str, JsonValue]:
    progress = job.meta.get("progress")
    return progress if isinstance(progress, dict) else {}


def _error(job: SafeJob) -> str:
    """The last line of the traceback: a sentence for people; the worker's log has the rest."""
    result = job.latest_result()
    lines = result.exc_string.strip().splitlines() if result and result.exc_string else []
    return lines[-1][:300] if lines else "it failed, and the worker's log tells why"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
