"""A thread that repeats a look at something."""

import logging
from collections.abc import Callable
from threading import Event, Thread

from backend.errors import SamloopError

log = logging.getLogger(__name__)


class Watch:
    """Calls `look` at once and then every `poll_s` seconds, in a daemon thread, from `start()` until `stop()`.

    An exception in `look` does not end the watch; its message is logged once, until it changes. Also a context manager.
    """

    def __init__(self, look: Callable[[], object], *, poll_s: float) -> None:
        self._look = look
        self._poll_s = poll_s
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> "Watch":
        """Begin. A watch can start only once."""
        self._thread.start()
        return self

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the watch, and wait at most `timeout_s` seconds for the look under way. Harmless when repeated."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def __enter__(self) -> "Watch":  # noqa: PYI034 - beartype takes no Self here
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def _run(self) -> None:
        last_message = None
        while not self._stopped.is_set():
            try:
                self._look()
                if last_message is not None:
                    log.info("the watch works again", extra={"event": "watch.recovered"})
                last_message = None
            except Exception as fault:  # the next look may succeed, whatever this one met
                if last_message != str(fault):
                    is_bug = not isinstance(fault, SamloopError)
                    log.warning("a look failed: %s", fault, extra={"event": "watch.failed"}, exc_info=is_bug)
                last_message = str(fault)
            self._stopped.wait(self._poll_s)
