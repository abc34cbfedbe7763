"""The status of a project's training and of a job, read from RQ and from our own keys."""

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
from backend.work.connection import decode_text
from backend.work.jobs import SafeJob
from backend.work.keys import Keys
from backend.work.losses import Curve, read_losses
from backend.work.rq_internals import explain_failure, list_limited_jobs

TARGET = "target"  # in a job's meta: the latest request that a running job covers
LOSSES = "losses"  # in a job's meta: the loss curves so far
_WAITING = frozenset({JobStatus.QUEUED, JobStatus.RATE_LIMITED, JobStatus.SCHEDULED})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStatus:
    """The status of a project's training.

    `queued` counts the waiting jobs that were not cancelled; `error` is set only in phase `failed`. `cancelled`: when
    the last training was cancelled, ISO 8601 in UTC; None once a later training has ended. `losses`: a running
    training's loss curves, by what it learns.
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
        """The share done of the running phase, in [0, 1], measured by the limit that ends it first; None: not known."""
        told = [_read_number(self.progress.get(name)) for name in ("share", "done", "total")]
        share, done, total = told
        if share is None and done is not None and total:
            share = done / total
        return None if share is None else min(max(share, 0.0), 1.0)

    @property
    def left_s(self) -> float | None:
        """The estimated time until the running phase ends, s; None: not known."""
        return _read_number(self.progress.get("left_s"))


def read_status(connection: Redis, keys: Keys, *, under_way: Literal["training", "refreshing"]) -> TrainingStatus:
    """Read the status of a project's work of one kind; `under_way` names the phase of a running job.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
        rq.exceptions.NoSuchJobError: a job expired meanwhile.
    """
    jobs = [job for job in fetch_jobs(connection, *list_limited_jobs(connection, keys.limit)) if job is not None]
    last = {decode_text(name): decode_text(value) for name, value in connection.hgetall(keys.last).items()}
    verdict = json.loads(last["verdict"]) if "verdict" in last else None
    running = [job for job in jobs if job.get_status(refresh=False) == JobStatus.STARTED]
    unwanted = int(connection.get(keys.cancelled) or 0)
    queued = [job for job in jobs if job.get_status(refresh=False) in _WAITING and not _is_unwanted(job, unwanted)]
    if running:
        return TrainingStatus(
            phase=under_way,
            job_id=running[0].id,
            progress=_read_progress(running[0]),
            losses=read_losses(running[0].meta.get(LOSSES)),
            verdict=verdict,
            queued=len(queued),
            cancelled=last.get("cancelled") if _read_target(running[0]) <= unwanted else None,
        )
    if queued:
        return TrainingStatus(phase="queued", job_id=queued[0].id, verdict=verdict, queued=len(queued))
    return _describe_rest(connection, keys, last=last, verdict=verdict)


def describe(job: SafeJob, job_id: JobId) -> Mapping[str, JsonValue]:
    """Describe a job as JSON; times are ISO 8601.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    status = job.get_status(refresh=False)
    return {
        "job": str(job_id),
        "project": job_id.project_id,
        "job_status": str(status.value) if status else None,
        "created_at": _format_time(job.created_at),
        "started_at": _format_time(job.started_at),
        "ended_at": _format_time(job.ended_at),
        "progress": _read_progress(job),
        "result": job.return_value() if status == JobStatus.FINISHED else None,
        "error": _read_error(job) if status == JobStatus.FAILED else None,
    }


def fetch_jobs(connection: Redis, *job_ids: str) -> list[SafeJob | None]:
    """Return the jobs of these ids; None for a job that does not exist.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    jobs: list[SafeJob | None] = SafeJob.fetch_many(  # type: ignore[assignment]
        job_ids, connection=connection, serializer=JSONSerializer
    )
    return jobs


def _read_target(job: SafeJob) -> int:
    target, job_id = job.meta.get(TARGET), JobId.find(job.id)
    return target if isinstance(target, int) else job_id.generation if job_id else 0


def _is_unwanted(job: SafeJob, generation: int) -> bool:
    """Return whether the request behind the job was cancelled."""
    job_id = JobId.find(job.id)
    return job_id is not None and job_id.generation <= generation


def _describe_rest(
    connection: Redis, keys: Keys, *, last: Mapping[str, str], verdict: Mapping[str, JsonValue] | None
) -> TrainingStatus:
    latest = connection.get(keys.latest)
    job = fetch_jobs(connection, decode_text(latest))[0] if latest else None
    if job is None or job.get_status(refresh=False) != JobStatus.FAILED:
        cancelled = last.get("cancelled")
        return TrainingStatus(phase="idle", job_id=job.id if job else None, verdict=verdict, cancelled=cancelled)
    is_recorded = "error" in last and last.get("failed") == job.id
    error = last["error"] if is_recorded else _read_error(job)
    return TrainingStatus(phase="failed", job_id=job.id, verdict=verdict, error=error)


def _read_number(value: JsonValue) -> float | None:
    """Return a progress figure from Redis; None for anything but a number."""
    return float(value) if isinstance(value, int | float) else None


def _read_progress(job: SafeJob) -> dict[str, JsonValue]:
    progress = job.meta.get("progress")
    return progress if isinstance(progress, dict) else {}


def _read_error(job: SafeJob) -> str:
    """Return the traceback's last line, a sentence for people. The worker's log has the rest."""
    result = job.latest_result()
    lines = result.exc_string.strip().splitlines() if result and result.exc_string else []
    if not lines:
        return "the training failed; the worker's log says why"
    return explain_failure(lines[-1]) or lines[-1][:300]


def _format_time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
