"""What both ends of the queue agree on: the kinds of work, and which jobs may run.

The server requests work (queue, follower) and workers do it (finetuner.worker, finetuner.job); neither imports the
other. Plain RQ calls whatever function a job names, so anybody who can write to Redis could run any code. So a job here
is JSON, runs only if its function is on a list, and has no callbacks and no webhooks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.errors import RefusedJob
from backend.ids import JobKind

QUEUE, REFRESH_QUEUE = "samloop", "samloop-refresh"
TRAIN, REFRESH = "finetuner.job.run", "finetuner.refreshing.run"
RUNNABLE = frozenset({TRAIN})
REFRESHING = frozenset({REFRESH})
HEARTBEAT_S = 12  # a worker silent for this long is dead; a live worker reports every 3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A kind of work for a project: its names, the function that does it, and the queue that it waits in."""

    kind: JobKind
    noun: str
    under_way: Literal["training", "refreshing"]
    function: str
    queue: str


TRAINING = Work(kind="train", noun="training", under_way="training", function=TRAIN, queue=QUEUE)
REFRESHES = Work(kind="refresh", noun="refresh", under_way="refreshing", function=REFRESH, queue=REFRESH_QUEUE)


class SafeJob(Job):
    """A job that can call only the functions in `runnable`."""

    runnable: ClassVar[frozenset[str]] = RUNNABLE
    success_callback = None
    failure_callback = None
    stopped_callback = None

    @property
    def func(self) -> Callable[..., Any]:
        """The job's function, imported only after the check that it is on the list.

        Raises:
            RefusedJob: the function is not on the list.
        """
        if fault := self.refusal():
            raise RefusedJob(fault)
        function: Callable[..., Any] = super().func
        return function

    def refusal(self) -> str | None:
        """Return why this job must not run, or None. Imports nothing."""
        try:
            name, instance = self.func_name, self.instance
        except Exception:  # noqa: BLE001 - whatever a foreign payload makes the parser raise
            return f"job {self.id} was refused: samloop did not write its payload; is something else using this Redis?"
        if not isinstance(name, str) or name not in self.runnable or instance is not None:
            return f"job {self.id} was refused: it calls {str(name)[:100]!r}, and workers run {sorted(self.runnable)}"
        return None

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Send no webhook: its address would come from Redis."""


def open_queue(connection: Redis, *, name: str = QUEUE, job_class: type[SafeJob] = SafeJob) -> Queue:
    """Return a kind of work's queue. A worker listens to one queue: RQ loses a job if its worker dies between two."""
    return Queue(name, connection=connection, job_class=job_class, serializer=JSONSerializer)
