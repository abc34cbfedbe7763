"""Runs a training as an RQ job: takes the lease, reports progress, records the outcome. finetuner.pipeline trains.

`execute` also runs a project's other jobs: finetuner.refreshing.
"""

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Retry, get_current_job
from rq.job import Job

from backend.errors import BadInput, SamloopError, Unavailable, Upstream
from backend.ids import JobKind, parse_project_id
from backend.labelstudio.api.client import label_studio_of
from backend.redaction import redact
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.keys import Keys
from backend.work.losses import LossCurves
from backend.work.queue import Outcome, count_outcome
from backend.work.rq_internals import write_meta
from backend.work.scripts import Script
from backend.work.status import LOSSES, TARGET
from finetuner.cancelling import Cancelled, Cancelling
from finetuner.lease import Lease

log = logging.getLogger(__name__)

_PROGRESS_S = 0.5
_AWAY_S = 5.0
_ATTEMPTS = 3
_PAUSES_S = (2.0, 8.0)


class Interrupted(BaseException):
    """The worker was told to stop. It is no Exception, so that no `except Exception` can swallow it."""


class OutOfTime(BaseException):
    """The job reached its time limit. It is no Exception, so that no `except Exception` can swallow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The arguments of a piece of work.

    Attributes:
        project_id: the Label Studio project.
        target: the latest request that this run serves.
        settings: the worker's settings.
        progress: receives the progress.
        fence: raises if another run has taken over.
        connection: the queue's Redis; calls wait while it is unreachable.
        quick: the same Redis; calls fail at once while it is unreachable.
    """

    project_id: int
    target: int
    settings: Settings
    progress: "JobProgress"
    fence: Callable[[], None]
    connection: Redis
    quick: Redis


Work = Callable[[Assignment], Mapping[str, object]]
_NOUNS = {"train": "training", "refresh": "refresh"}


def run(project_id: int, generation: int) -> dict[str, object] | Retry:
    """Train the project, for all requests so far; RQ calls this in a child process. As `execute`."""
    return execute(project_id, generation, kind="train", work=_train)


def execute(project_id: int, generation: int, *, kind: JobKind, work: Work) -> dict[str, object] | Retry:
    """Do the work for all requests so far, while no other job of this kind and project runs.

    Returns:
        {"outcome": "done", ...} ("trained" for a training) with the result of the work; {"outcome": "coalesced"} if an
        earlier run served this request; {"outcome": "cancelled"} if it was cancelled; a `Retry` if the worker was told
        to stop.

    Raises:
        SamloopError: the work failed, for the reason in its message.
    """
    job = get_current_job()
    if job is None:
        raise RuntimeError(f"only a worker can run this job: queue it with `samloop {kind} --project N`")
    if type(generation) is not int or generation < 1:
        raise BadInput(f"a {_NOUNS[kind]} needs the number of a request, from 1, not {str(generation)[:100]}")
    run_ = _Run(job, Keys(parse_project_id(project_id), kind), generation, work)
    try:
        with _interruptible():
            return run_.execute()
    except Interrupted:
        log.info("interrupted %s: another worker resumes it", job.id, extra={"event": f"{_NOUNS[kind]}.interrupted"})
        return Retry(max=10_000, enqueue_at_front=True)
    except Cancelled:
        run_.count("cancelled")
        log.info("%s was cancelled", job.id, extra={"event": f"{_NOUNS[kind]}.cancelled", "project_id": project_id})
        return {"outcome": "cancelled", "generation": generation}
    except OutOfTime as fault:
        job.retries_left = 0
        run_.record_failure(str(fault))
        run_.count("failed")
        raise
    except Exception as fault:
        run_.give_up_or_pause(fault)
        raise


class _Run:
    """One execution of one job."""

    def __init__(self, job: Job, keys: Keys, generation: int, work: Work) -> None:
        self._job, self._keys, self._generation, self._work = job, keys, generation, work
        self._patient: Redis = job.connection

    def execute(self) -> dict[str, object]:
        settings = Settings.from_env()
        quick = connect(settings.queue.redis_url) if settings.queue.redis_url else self._patient
        with quick, self._lease(quick) as lease:
            wanted, served = (
                int(value or 0)
                for value in Script.BEGIN.run(
                    self._patient,
                    keys=(self._keys.wanted, self._keys.waiting, self._keys.served),
                    args=(self._job.id,),
                )
            )
            # Not `served >= generation`: this job also serves requests that arrived after it was queued.
            target = max(wanted, self._generation)
            if served >= target:
                log.info("an earlier run has served %s", self._job.id, extra={"event": f"{self._noun}.coalesced"})
                return {"outcome": "coalesced", "generation": self._generation, "served": served}
            verdict = self._result(settings, target=target, lease=lease, quick=quick)
            Script.FINISH.run(
                self._patient, keys=(self._keys.served, self._keys.last), args=(target, json.dumps(verdict))
            )
            is_training = self._keys.kind == "train"
            self.count("done" if not is_training else "promoted" if verdict.get("promoted") else "not_promoted")
            return {"outcome": "trained" if is_training else "done", "generation": target, **verdict}

    @property
    def _noun(self) -> str:
        return _NOUNS[self._keys.kind]

    def give_up_or_pause(self, fault: Exception) -> None:
        """Decide whether to try again, and store the failure's message for `samloop status`."""
        passing = isinstance(fault, Upstream | Unavailable) or not isinstance(fault, SamloopError)
        left = min(self._job.retries_left or 0, _ATTEMPTS - 1) if passing else 0
        self._job.retries_left = left
        if isinstance(fault, SamloopError):
            self.record_failure(str(fault))
        else:
            message = redact(str(fault))[:300]
            self.record_failure(f"{type(fault).__name__}: {message}; the worker's log has the traceback")
        if not left:
            self.count("failed")
        else:
            # Keep the project's slot during the pause; RQ's own delayed retries would give it up.
            with suppress(Interrupted), _interruptible():
                time.sleep(_PAUSES_S[_ATTEMPTS - 1 - left])

    def record_failure(self, sentence: str) -> None:
        log.error(
            "%s failed: %s",
            self._job.id,
            sentence,
            extra={"event": f"{self._noun}.failed", "project_id": self._keys.project_id, "job_id": self._job.id},
        )
        with suppress(RedisError):
            self._patient.hset(self._keys.last, mapping={"error": sentence[:1000], "failed": self._job.id})

    def count(self, outcome: Outcome) -> None:
        """Count this run for /metrics. Redis may be away: the count is then one too low."""
        with suppress(RedisError):
            count_outcome(self._patient, outcome, kind=self._keys.kind)

    def _lease(self, quick: Redis) -> Lease:
        return Lease(self._keys, holder=self._job.worker_name or "", patient=self._patient, quick=quick)

    def _result(self, settings: Settings, *, target: int, lease: Lease, quick: Redis) -> dict[str, object]:
        began = time.monotonic()
        self._job.meta[TARGET] = target  # `samloop status` reads it from the progress
        result = self._work(
            Assignment(
                project_id=self._keys.project_id,
                target=target,
                settings=settings,
                progress=JobProgress(self._job, connection=quick, lease=lease),
                fence=lease.check,
                connection=self._patient,
                quick=quick,
            )
        )
        verdict = {
            **_plain(result),
            "job": self._job.id,
            "seconds": round(time.monotonic() - began, 1),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        log.info(
            "%s ended: %s",
            self._job.id,
            result["reason"],
            extra={"event": f"{self._noun}.ended", "project_id": self._keys.project_id, "version": result["version"]},
        )
        return verdict


def _train(assignment: Assignment) -> dict[str, object]:
    _check_project(assignment)
    from finetuner import pipeline  # imports torch, which the worker must not load and no other job needs

    with Cancelling(
        Keys(assignment.project_id), target=assignment.target, quick=assignment.quick, progress=assignment.progress
    ) as cancelling:
        outcome = pipeline.train_project(
            assignment.project_id,
            settings=assignment.settings,
            progress=cancelling.progress,
            fence=assignment.fence,
        )
    return {
        **outcome.verdict,
        "version": outcome.version,
        "promoted": outcome.promoted,
        "reason": outcome.reason,
    }


def _check_project(assignment: Assignment) -> None:
    """Refuse a project that Label Studio does not have, before torch takes seconds to load.

    Raises:
        SettingsError: Label Studio's address or key is missing.
        NotFound: there is no project with this number.
    """
    label_studio_of(assignment.settings, where="where the worker runs").project(assignment.project_id)


class JobProgress:
    """Writes progress to the log and to the job's meta, at every change of phase and otherwise at most twice a second.

    Tables (texts of several lines) and losses stay in the meta to the end, for people who look later.
    An unreachable Redis does not delay the training; a lost lease ends it (LeaseLost).
    """

    def __init__(self, job: Job, *, connection: Redis, lease: Lease) -> None:
        self._job = job
        self._connection = connection
        self._lease = lease
        self._phase = ""
        self._next_s = 0.0
        self._tables: dict[str, object] = {}
        self._losses = LossCurves()

    def __call__(self, phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
        """Receive progress; see finetuner.progress."""
        self._lease.check_quickly()
        tables = {name: value for name, value in figures.items() if "\n" in str(value)}
        self._tables |= tables
        now = time.monotonic()
        if phase == self._phase and now < self._next_s:
            return
        level = logging.INFO if phase != self._phase or "epoch" in figures else logging.DEBUG
        self._phase, self._next_s = phase, now + _PROGRESS_S
        report = {"phase": phase, **_plain({name: value for name, value in figures.items() if name not in tables})}
        log.log(
            level,
            "%s %s",
            self._job.id,
            " ".join(f"{name}={value}" for name, value in report.items()),
            extra={"event": "training.progress", "project_id": self._lease.project_id, "progress": report},
        )
        for line in (line for table in tables.values() for line in str(table).splitlines()):
            log.info("%s %s", self._job.id, line, extra={"event": "training.table"})
        report |= self._tables
        self._losses.note(report)
        self._job.meta["progress"], self._job.meta[LOSSES] = report, self._losses.to_json()
        try:
            write_meta(self._connection, self._job, self._job.meta)
        except RedisError:
            self._next_s = now + _AWAY_S


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise Interrupted at SIGTERM inside the `with` block; ignore SIGTERM after it, so that cleaning up completes."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """The values as JSON: a figure that is not finite becomes null."""

    def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
        match value:
            case float() if not math.isfinite(value):
                return None
            case Mapping():
                return {str(key): plain(inner) for key, inner in value.items()}
            case list() | tuple():
                return [plain(inner) for inner in value]
            case _:
                return value

    return {str(key): plain(value) for key, value in values.items()}
