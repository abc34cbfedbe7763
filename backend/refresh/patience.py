"""Waits out the failures that pass, and notices meanwhile that the refresh is over."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backend.errors import Unavailable, Upstream

log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_SLEEP_S = 1.0  # between two looks at whether the refresh is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How failures are waited out.

    Attributes:
        check: raises where the refresh must end.
        patience_s: how long one failing call is tried again, s.
        first_pause_s: the pause after the first failure, s; every further one is twice as long.
        longest_pause_s: the longest of them, s.
        clock: tells the time, s.
        sleep: waits so many seconds.
    """

    check: Callable[[], None]
    patience_s: float
    first_pause_s: float
    longest_pause_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def pause(self, seconds: float) -> None:
        """Wait, and end with what `check` raises where the refresh must end meanwhile."""
        until_s = self.clock() + seconds
        while (left_s := until_s - self.clock()) > 0:
            self.sleep(min(left_s, _LONGEST_SLEEP_S))
            self.check()

    def begin(self) -> "Pauses":
        """The pauses of a call, or of a row of calls, that begins now."""
        return Pauses(self)

    def ask(self, question: Callable[[], T]) -> T:
        """The answer; a failure that may pass is waited out.

        Raises:
            Upstream, Unavailable: the last failure, where they lasted longer than `patience_s`.
        """
        pauses = self.begin()
        while True:
            try:
                return question()
            except (Upstream, Unavailable) as fault:
                pauses.wait(fault)


class Pauses:
    """Waits longer after every failure, as long as was asked for at least, and for `patience_s` in all."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._until_s, self._pause_s = patience.clock() + patience.patience_s, patience.first_pause_s

    def wait(self, fault: Upstream | Unavailable) -> None:
        """Wait, or raise the fault where it has lasted too long."""
        patience = self._patience
        wait_s = max(self._pause_s * random.uniform(0.5, 1.0), fault.retry_after_s or 0.0)  # noqa: S311 - spreads clients
        if patience.clock() + wait_s > self._until_s:
            raise fault
        log.info("waiting %.1f s: %s", wait_s, fault, extra={"event": "refresh.waiting"})
        patience.pause(wait_s)
        self._pause_s = min(2 * self._pause_s, patience.longest_pause_s)
