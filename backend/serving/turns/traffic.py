"""Priorities, and a count of the annotators who wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Priority(IntEnum):
    """The order of work: first annotators' clicks, then batches for Label Studio, then embedding ahead."""

    CLICK = 0
    BATCH = 1
    PREWARM = 2


class Traffic:
    """Counts the clicks that are being answered, so that other work can pause."""

    def __init__(self) -> None:
        self._clicks = 0
        self._changed = threading.Condition()

    @property
    def clicks(self) -> int:
        """How many clicks are being answered."""
        return self._clicks

    @contextmanager
    def click(self) -> Iterator[None]:
        """Span the answer to a click."""
        with self._changed:
            self._clicks += 1
        try:
            yield
        finally:
            with self._changed:
                self._clicks -= 1
                self._changed.notify_all()

    def wait_until_clear(self, *, longest_s: float) -> bool:
        """Wait at most `longest_s` until no click is being answered; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._clicks, timeout=min(longest_s, threading.TIMEOUT_MAX))
