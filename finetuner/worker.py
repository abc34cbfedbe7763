"""The worker: takes jobs off its queue and runs them in child processes, which import torch; the worker does not."""

import os
import resource
import signal
from threading import Timer
from types import FrameType

from rq import Queue, Worker, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty
from rq.utils import now

from backend.files.children import die_with_parent
from backend.ids import JobId
from backend.redaction import redact
from backend.work.connection import connect
from backend.work.jobs import HEARTBEAT_S, QUEUE, RUNNABLE, SafeJob, open_queue
from backend.work.keys import Keys
from backend.work.rq_internals import count_kill, sweep
from finetuner.job import OutOfTime
from finetuner.lease import release_of_dead

_LEAVE_S = 5.0
_HEARTBEAT_EVERY_S = 3  # four times in HEARTBEAT_S
_MOST_KILLS = 5  # of a job's process, while its worker lives: memory that is short stays short


class _TimeLimit(UnixSignalDeathPenalty):
    """A time limit for jobs that no `except Exception` can swallow; the other limits are RQ's."""

    def handle_death_penalty(self, signum: int, frame: FrameType | None) -> None:
        if issubclass(self._exception, JobTimeoutException):
            raise OutOfTime(f"the training took longer than {self._timeout} s (SAMLOOP_JOB_SECONDS)")
        super().handle_death_penalty(signum, frame)  # type: ignore[no-untyped-call]  # RQ's


class TrainingWorker(Worker):
    """RQ's worker, but its death is noticed within 15 s instead of 810, and it exits within seconds of SIGTERM."""

    death_penalty_class = _TimeLimit

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Refuse a function that is not on the list before starting a process for it."""
        if isinstance(job, SafeJob) and (reason := job.refusal()):
            job.retries_left = 0
            self.log.error(reason, extra={"event": "job.refused", "job_id": job.id})
            self.handle_job_failure(job, queue, exc_string=reason)
            queue.intermediate_queue.remove(job.id)
            return
        super().execute_job(job, queue)

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """Store the traceback without secrets: other libraries' exceptions contain addresses with their queries."""
        super().handle_job_failure(job, queue, started_job_registry, redact(exc_string), execution)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the child, first make it die with the worker, or its training would outlive it."""
        die_with_parent(self.pid or 0)
        super().main_work_horse(job, queue)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 - RQ's signature
        """Exactly HEARTBEAT_S: RQ would add a minute."""
        return HEARTBEAT_S

    def clean_registries(self) -> None:
        """Sweep without RQ's lock, which a killed holder would block for a quarter of an hour."""
        for queue in self.queues:
            sweep(queue)
            worker_registration.clean_worker_registry(queue)
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ's annotation is that of its first value

    def handle_warm_shutdown_request(self) -> None:
        """Stop the training instead of waiting for it: it returns to the front of the queue and resumes elsewhere."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]  # RQ's
        if self.horse_pid:
            self.kill_horse(signal.SIGTERM)
            timer = Timer(_LEAVE_S, self._kill_horse_if_any)
            timer.daemon = True
            timer.start()

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: "resource.struct_rusage") -> None:
        """Release the dead training's lease, so that the next need not wait; give up a job that is always killed."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]  # RQ's
        if not self._stop_requested and count_kill(self.connection, job) >= _MOST_KILLS:
            job.retries_left = 0
        if (dead := JobId.find(job.id)) is not None:
            release_of_dead(self.connection, Keys(dead.project_id, dead.kind), holder=self.name)

    def set_shutdown_requested_date(self) -> None:
        """Do nothing: no code reads the date, and a signal handler should not wait for Redis."""

    def _kill_horse_if_any(self) -> None:
        if self.horse_pid:  # RQ would kill group 0, which is ours
            self.kill_horse(signal.SIGKILL)


def run_worker(redis_url: str, *, burst: bool = False, allowed: frozenset[str] = RUNNABLE, queue: str = QUEUE) -> None:
    """Work until SIGTERM or SIGINT; with `burst`, until the queue is empty.

    Args:
        redis_url: the address of the queue's Redis, which trainings read from REDIS_URL.
        burst: exit when the queue is empty.
        allowed: the dotted names of the functions that jobs may call.
        queue: the name of the queue; trainings and refreshes have different queues and never wait for each other.
    """
    os.environ["REDIS_URL"] = redis_url
    connection = connect(redis_url, patient=True)
    job_class = type("RunnableJob", (SafeJob,), {"runnable": allowed})
    worker = TrainingWorker(
        [open_queue(connection, name=queue, job_class=job_class)],
        connection=connection,
        job_class=job_class,
        serializer=JSONSerializer,
        worker_ttl=25,
        job_monitoring_interval=_HEARTBEAT_EVERY_S,
        maintenance_interval=5,
        log_job_description=False,
    )
    worker.log_result_lifespan = False
    # RQ installs the handlers after registering the worker: a signal in between would leave a name without a worker.
    worker._install_signal_handlers()  # type: ignore[no-untyped-call]  # noqa: SLF001 - there is no public way
    try:
        worker.work(burst=burst)
    except StopRequested:
        worker.teardown()  # type: ignore[no-untyped-call]  # RQ's
