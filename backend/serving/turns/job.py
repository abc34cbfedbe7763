"""A piece of work in a lane: who waits for it, until when, and how it pauses for clicks."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from backend.errors import Busy
from backend.serving.turns.traffic import Priority, Traffic

_POLL_S = 0.02

T = TypeVar("T")


class Place(Protocol):
    """The part of a lane that its jobs use."""

    @property
    def traffic(self) -> Traffic:
        """The clicks that jobs pause for."""

    @property
    def batch_patience_s(self) -> float:
        """How long a batch pauses in all, s."""

    @property
    def clock(self) -> Callable[[], float]:
        """Returns the time by which deadlines are set, s."""

    def busy(self, why: str) -> Busy:
        """Make the refusal of a job."""

    def changing(self) -> AbstractContextManager[None]:
        """Span a change to a job."""

    def check_open(self) -> None:
        """Raise Busy if the lane is closed."""


class Job(Generic[T]):
    """Work in a lane; `Lane.submit` makes it.

    Attributes:
        priority: the priority of the most urgent caller.
        until_s: the latest deadline of all callers (the lane's clock).
        owner: the project that asked first; None where the request names no project.
        cores: how many cores the job may use; the lane sets it when the job begins.
    """

    def __init__(
        self, place: Place, work: Callable[[], T], *, priority: Priority, until_s: float, owner: int | None = None
    ) -> None:
        self._place, self._work = place, work
        self.priority, self.until_s, self.owner = priority, until_s, owner
        self.cores = 1
        self._paused_s = 0.0
        self._future: Future[T] = Future()

    def result(self, *, until_s: float) -> T:
        """Wait for the work's result.

        Raises:
            Busy: `until_s` passed, or all callers gave up before the work began.
            Exception: whatever the work raised.
        """
        left_s = min(max(0.0, until_s - self._place.clock()), threading.TIMEOUT_MAX)
        try:
            return self._future.result(timeout=left_s)
        except TimeoutError:
            if self._future.done():  # the work itself raised it
                raise
            raise self._place.busy("it was not this request's turn in time") from None

    def hasten(self, priority: Priority, *, until_s: float) -> None:
        """Add a caller: the job takes the more urgent priority and the later deadline."""
        with self._place.changing():
            self.priority = min(self.priority, priority)
            self.until_s = max(self.until_s, until_s)

    @property
    def done(self) -> bool:
        """Whether the work is done, failed or refused."""
        return self._future.done()

    def when_done(self, call: Callable[[], None]) -> None:
        """Call `call` once the work is done, failed or refused; at once if it already is."""
        self._future.add_done_callback(lambda _: call())

    def make_way(self) -> None:
        """Pause the work while clicks are being answered; the work calls this between its steps.

        A click never pauses. A batch pauses at most `batch_patience_s` in all, because annotators may click without
        end. Embedding ahead has no such limit.

        Raises:
            Busy: nobody waits for this job any more.
        """
        place = self._place
        while self.priority is not Priority.CLICK and place.traffic.clicks:
            if self.priority is Priority.BATCH and self._paused_s >= place.batch_patience_s:
                return
            place.check_open()
            began_s = place.clock()
            if began_s >= self.until_s:
                raise place.busy("annotators came first for too long")
            # In short waits: meanwhile the job may become urgent, or the lane may close.
            place.traffic.wait_until_clear(longest_s=_POLL_S)
            self._paused_s += place.clock() - began_s

    def run(self) -> None:
        """Do the work for all callers. The lane calls this."""
        try:
            self._future.set_result(self._work())
        except BaseException as fault:  # noqa: BLE001 - every caller must get it
            self._future.set_exception(fault)

    def refuse(self, fault: Busy) -> None:
        """Raise the fault in all callers. The lane calls this instead of `run`."""
        self._future.set_exception(fault)
