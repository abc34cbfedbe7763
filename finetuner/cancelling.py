"""Ends a cancelled training within one step, on whatever machine it runs.

The key `cancelled` in Redis holds the latest cancelled request. A thread polls it, and interrupts the training by a
signal, which also reaches code that swallows exceptions. The training saves its state as after any other interruption,
so a later training on the same annotations resumes from it.
"""

import logging
import signal
import threading
from contextlib import suppress
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError

from backend.work.keys import Keys
from finetuner.progress import Progress

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_LAST_PHASE = "publishing"


class Cancelled(BaseException):
    """The training was cancelled. It is no Exception, so that no `except Exception` can swallow it."""


class Cancelling:
    """Raises Cancelled in the main thread after a cancellation, inside the `with` block but not while it publishes.

    A first version is published before the long training begins, which can be cancelled again.

    Args:
        keys: the keys of the project's trainings.
        target: the latest request that this training serves.
        quick: a connection that fails at once if Redis is unreachable.
        progress: receives the progress that `self.progress` passes on.
    """

    def __init__(self, keys: Keys, *, target: int, quick: Redis, progress: Progress) -> None:
        self._keys, self._target, self._quick, self._progress = keys, target, quick, progress
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Cancelling":  # noqa: PYI034 - beartype takes no Self here
        """Start to poll.

        Raises:
            Cancelled: the training was cancelled before it began.
        """
        if self._is_cancelled():
            raise Cancelled
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def progress(self, phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
        """Pass the progress on; what is being published cannot be cancelled, and what follows a first version can."""
        if phase == _LAST_PHASE:
            self._stop()
        elif self._thread is None:
            self._start()
        self._progress(phase, **figures)

    def _start(self) -> None:
        signal.signal(signal.SIGUSR1, _raise_cancelled)
        self._is_over.clear()
        self._thread = threading.Thread(target=self._watch, name="cancelling", daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def _watch(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            if self._is_cancelled():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return

    def _is_cancelled(self) -> bool:
        with suppress(RedisError):
            return int(self._quick.get(self._keys.cancelled) or 0) >= self._target
        return False


def _raise_cancelled(*_: object) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise Cancelled
