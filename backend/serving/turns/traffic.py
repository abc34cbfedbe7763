"""Who goes first, and whether an annotator waits just now."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first: an annotator who waits, then a batch that Label Studio waits for, then what nobody asked for."""

    CLICK = 0
    BATCH = 1
    PREWARM = 2


class Traffic:
    """Counts the interactive requests that are being answered, so that other work can make way."""

    def __init__(self) -> None:
        self._clicks = 0
        self._changed = threading.Condition()

    @property
    def clicks(self) -> int:
        """How many interactive requests are being answered."""
        return self._clicks

    @contextmanager
    def click(self) -> Iterator[None]:
        """Spans one interactive request."""
        with self._changed:
            self._clicks += 1
        try:
            yield
        finally:
            with self._changed:
                self._clicks -= 1
                self._changed.notify_all()

    def wait_until_clear(self, *, longest_s: float) -> bool:
        """Wait until no click is being answered, `longest_s` at most; True if none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._clicks, timeout=min(longest_s, threading.TIMEOUT_MAX))
