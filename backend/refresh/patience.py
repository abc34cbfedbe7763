"""Waits out failures that pass, and notices meanwhile when the refresh must end."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backend.errors import Unavailable, Upstream

log = logging.getLogger(__name__)
T = TypeVar("T")
_LONGEST_SLEEP_S = 1.0  # between two checks whether the refresh must end


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait out failures, and when to stop.

    Attributes:
        check: raises when the refresh must end.
        patience_s: how long to repeat a failing call, s.
        first_pause_s: the pause after the first failure, s; every later pause is twice as long.
        longest_pause_s: the longest pause, s.
        clock: returns the time, s.
        sleep: waits for so many seconds.
    """

    check: Callable[[], None]
    patience_s: float
    first_pause_s: float
    longest_pause_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def pause(self, seconds: float) -> None:
        """Wait, unless `check` raises first."""
        until_s = self.clock() + seconds
        while (left_s := until_s - self.clock()) > 0:
            self.sleep(min(left_s, _LONGEST_SLEEP_S))
            self.check()

    def begin(self) -> "Pauses":
        """Return the pauses for a call, or a series of calls, that begins now."""
        return Pauses(self)

    def ask(self, question: Callable[[], T]) -> T:
        """Return the question's answer, and wait out failures that may pass.

        Raises:
            Upstream, Unavailable: the last failure, once failures have lasted longer than `patience_s`.
        """
        pauses = self.begin()
        while True:
            try:
                return question()
            except (Upstream, Unavailable) as fault:
                pauses.wait(fault)


class Pauses:
    """Waits longer after every failure, never less than the failure asks for, and at most `patience_s` in all."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._until_s, self._pause_s = patience.clock() + patience.patience_s, patience.first_pause_s

    def wait(self, fault: Upstream | Unavailable) -> None:
        """Wait, or raise the fault once failures have lasted too long."""
        patience = self._patience
        wait_s = max(self._pause_s * random.uniform(0.5, 1.0), fault.retry_after_s or 0.0)  # noqa: S311 - spreads clients
        if patience.clock() + wait_s > self._until_s:
            raise fault
        log.info("trying again in %.1f s: %s", wait_s, fault, extra={"event": "refresh.waiting"})
        patience.pause(wait_s)
        self._pause_s = min(2 * self._pause_s, patience.longest_pause_s)
