"""Lanes: a few threads run work of one kind, the most urgent first, projects in turn, from a bounded queue.

Decodes and encodes run in lanes apart, so that a click on a known image never stands behind an image that is new. The
threads are few and stay: every thread that ever ran an operation of torch keeps its own team of threads and memory.
"""

import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.errors import Busy
from backend.serving.turns.job import Job
from backend.serving.turns.traffic import Priority, Traffic

LONGEST_S = 90.0  # Label Studio gives up after 100 s; an answer after that is work for nobody

T = TypeVar("T")


class Lane:
    """Runs jobs in `workers` threads, the most urgent first; among equals projects take turns, the oldest job first.

    One project alone may take every place. Once the lane is full, the project with the most waiting jobs gives up its
    newest job to a project with fewer. So no project can shut the others out.

    Args:
        name: for messages, metrics and threads.
        workers: at least two; work that is no click leaves a worker free.
        waiting: most jobs of a priority, with those more urgent, that may wait for their turn.
        cores: the number of cores that the running jobs share.
        traffic: the clicks to make way for.
        during: a context in which a worker runs a job, such as one that pauses it between steps.
        batch_patience_s: how long a batch makes way for clicks in all, s.
        clock: tells the time by which `until_s` is set, s.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        name: str,
        *,
        workers: int,
        waiting: int,
        cores: int,
        traffic: Traffic,
        during: Callable[[Job[Any]], AbstractContextManager[object]] = nullcontext,
        batch_patience_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.traffic = name, traffic
        self.batch_patience_s, self.clock = batch_patience_s, clock
        self._workers, self._most, self._cores, self._during = max(2, workers), waiting, cores, during
        self._changed = threading.Condition()
        self._waiting: list[Job[Any]] = []
        self._running: list[Job[Any]] = []
        self._turns: dict[int | None, int] = {}  # by owner, when its last job began; of owners that wait or run
        self._turn = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._refused = 0
        self._mean_s = 0.5

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many jobs workers are running."""
        return len(self._running)

    @property
    def refused(self) -> int:
        """How many jobs were not accepted, or did not begin in time."""
        return self._refused

    def submit(
        self, work: Callable[[], T], *, priority: Priority, until_s: float = math.inf, owner: int | None = None
    ) -> Job[T]:
        """Put work in line; `Job.result` waits for it.

        Args:
            work: what a worker calls.
            priority: whose turn is first.
            until_s: when nobody waits any more (the lane's clock).
            owner: the project that asks; None: a request that names no project.

        Raises:
            Busy: too many wait already, and no other project has more waiting jobs.
        """
        job, displaced = Job(self, work, priority=priority, until_s=until_s, owner=owner), None
        with self._changed:
            self.check_open()
            if sum(waiting.priority <= priority for waiting in self._waiting) >= self._most:
                displaced = self._make_room(priority, owner=owner)
            self._waiting.append(job)
            if not self._threads:
                self._start()
            self._changed.notify()
        if displaced is not None:  # not under the lock: who waits for the job may call the lane from there
            displaced.refuse(self.busy(f"{self._most} requests wait already, most of them of this project"))
        return job

    def run(self, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None) -> T:
        """Do the work in the lane and wait for it. Arguments as `submit`'s.

        Raises:
            Busy: too many wait, or it was not done by `until_s` (the lane's clock).
            Exception: what the work raised.
        """
        return self.submit(work, priority=priority, until_s=until_s, owner=owner).result(until_s=until_s)

    def busy(self, why: str) -> Busy:
        """Count a refusal and return it, with the time after which this lane will be through with what waits now."""
        self._refused += 1
        after_s = math.ceil(self._mean_s * (self.waiting + self.running) / self._workers)
        return Busy(f"too much to {self.name} at once: {why}; try again", retry_after_s=min(60, max(1, after_s)))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Span a change to a job, after which the workers choose again."""
        with self._changed:
            yield
            self._changed.notify_all()

    def check_open(self) -> None:
        """Raise Busy once the lane is closed."""
        if self._closed:
            raise Busy("the server is stopping: try again when it is back", retry_after_s=5)

    def close(self) -> None:
        """Refuse the waiting jobs, and wait until the running jobs have ended."""
        self.refuse_waiting()
        for thread in self._threads:
            thread.join(timeout=10)

    def refuse_waiting(self) -> None:
        """Refuse the waiting jobs, and all that come later; the running jobs go on to their end."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in left:
            job.refuse(Busy("the server is stopping: try again when it is back", retry_after_s=5))

    def _make_room(self, priority: Priority, *, owner: int | None) -> Job[Any]:
        """Take the newest job of the owner with the most jobs of this priority out of the line, for `owner`.

        Raises:
            Busy: nobody has more of them than `owner` with the newcomer.
        """
        rivals = [waiting for waiting in self._waiting if waiting.priority == priority]
        counts = Counter(rival.owner for rival in rivals)
        most = max(counts, key=lambda known: counts[known], default=owner)
        if counts[most] <= counts[owner] + 1:
            raise self.busy(f"{self._most} requests wait already")
        newest = [rival for rival in rivals if rival.owner == most][-1]
        self._waiting.remove(newest)
        return newest

    def _start(self) -> None:
        self._threads = [
            threading.Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
            for number in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Run one job; False when the lane is closed. A function of its own, so that no worker holds on to its last."""
        if (job := self._next()) is None:
            return False
        began_s = self.clock()
        if job.until_s <= began_s:
            # Not under the lock: who waits for the job may call the lane from there.
            job.refuse(self.busy("it was not this request's turn in time"))
        else:
            with self._during(job):
                job.run()
            self._mean_s += 0.1 * (self.clock() - began_s - self._mean_s)
        with self.changing():
            self._running.remove(job)
        return True

    def _next(self) -> Job[Any] | None:
        """The job whose turn it is; None when the lane is closed."""
        with self._changed:
            while not self._closed:
                if (job := self._choose()) is not None:
                    self._waiting.remove(job)
                    self._running.append(job)
                    self._note_turn(job)
                    job.cores = self._share(job)
                    return job
                self._changed.wait()
        return None

    def _note_turn(self, job: Job[Any]) -> None:
        present = {other.owner for other in (*self._waiting, *self._running)}
        # Who is gone is forgotten, or callers could fill memory with made-up projects.
        self._turns = {owner: turn for owner, turn in self._turns.items() if owner in present}
        self._turns[job.owner] = next(self._turn)

    def _share(self, job: Job[Any]) -> int:
        """The cores for a job: all for one alone. Among many, images side by side are faster than shared cores."""
        is_click = job.priority is Priority.CLICK
        alike = sum((other.priority is Priority.CLICK) == is_click for other in (*self._running, *self._waiting))
        return max(1, self._cores // min(alike, self._workers if is_click else self._workers - 1))

    def _choose(self) -> Job[Any] | None:
        # min returns the first of equals: the oldest of the project whose turn is the longest ago.
        job = min(self._waiting, key=lambda job: (job.priority, self._turns.get(job.owner, 0)), default=None)
        if job is None or job.priority is Priority.CLICK:
            return job
        unhurried = sum(running.priority is not Priority.CLICK for running in self._running)
        return job if unhurried < self._workers - 1 else None


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of a server, which share its traffic."""

    encode: Lane
    decode: Lane
    traffic: Traffic

    def stop_encoding(self) -> None:
        """Finish the images that are being encoded, and refuse all others; prompts are still decoded."""
        self.encode.refuse_waiting()

    def close(self) -> None:
        """Finish the running jobs, and refuse those that wait."""
        self.encode.close()
        self.decode.close()
