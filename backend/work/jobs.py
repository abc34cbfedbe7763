"""What both ends of the queue agree on: the kinds of work, and which jobs may run at all.

The server asks for work (queue, follower), workers do it (finetuner.worker, finetuner.job), and neither imports the
other. Who can write to Redis could make RQ run any function with any arguments: RQ calls what a job
names, pickle or JSON. So a job here is JSON, runs only if its function is on a list, and has no callbacks and no
webhooks.
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
HEARTBEAT_S = 12  # a worker that has said nothing for so long is dead; it speaks every 3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A kind of work that is asked for by project: how it is called, and which function does it on which queue."""

    kind: JobKind
    noun: str
    under_way: Literal["training", "refreshing"]
    function: str
    queue: str


TRAINING = Work(kind="train", noun="training", under_way="training", function=TRAIN, queue=QUEUE)
REFRESHES = Work(kind="refresh", noun="refresh", under_way="refreshing", function=REFRESH, queue=REFRESH_QUEUE)


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


def the_queue(connection: Redis, *, name: str = QUEUE, job_class: type[SafeJob] = SafeJob) -> Queue:
    """The queue of one kind of work. A worker listens to one: RQ loses the job of one killed between two queues."""
    return Queue(name, connection=connection, job_class=job_class, serializer=JSONSerializer)
