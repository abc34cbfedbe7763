"""A thread that looks at something again and again."""

import logging
from collections.abc import Callable
from threading import Event, Thread

from backend.errors import SamloopError

log = logging.getLogger(__name__)


class Watch:
    """Calls `look` now and then every `poll_s` seconds, in a daemon thread, from `start()` until `stop()`.

    What `look` raises is logged, once until it changes, and does not end the watch. It is also a context manager.
    """

    def __init__(self, look: Callable[[], object], *, poll_s: float) -> None:
        self._look = look
        self._poll_s = poll_s
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> "Watch":
        """Begin; a watch is started once."""
        self._thread.start()
        return self

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the watch and wait for the look under way, at most `timeout_s`; harmless when repeated."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def __enter__(self) -> "Watch":  # noqa: PYI034 - beartype takes no Self here
        return self.start()

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def _run(self) -> None:
        said = None
        while not self._stopped.is_set():
            try:
                self._look()
                if said is not None:
                    log.info("looking works again", extra={"event": "watch.recovered"})
                said = None
            except Exception as fault:  # whatever it is, the next look may succeed
                if said != str(fault):
                    is_bug = not isinstance(fault, SamloopError)
                    log.warning("looking failed: %s", fault, extra={"event": "watch.failed"}, exc_info=is_bug)
                said = str(fault)
            self._stopped.wait(self._poll_s)
