"""Works on several projects at once, so that no project waits for another whose Label Studio is slow."""

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class ProjectLanes:
    """Calls `work` for the submitted projects, never twice at once for one project. Safe for any number of threads.

    Args:
        work: does what there is to do in the project with this id.
        lanes: how many projects are worked on at once.
        name: of the threads.
    """

    def __init__(self, work: Callable[[int], object], *, lanes: int, name: str) -> None:
        self._work, self._lanes, self._name = work, lanes, name
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._again: dict[int, bool] = {}  # whether a project was submitted again since its work began
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to work."""
        self._queue, self._again = queue.SimpleQueue(), {}
        self._threads = [
            threading.Thread(target=self._run, args=(self._queue,), name=self._name, daemon=True)
            for _ in range(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, project_id: int) -> None:
        """Ask for work on a project. If work on it is running, it is done once more, for there may be more to do."""
        with self._lock:
            is_held = project_id in self._again
            self._again[project_id] = is_held
        if not is_held:
            self._queue.put(project_id)

    def stop(self, *, within_s: float) -> None:
        """End once the work that has begun is done, or after so many seconds. Harmless when repeated."""
        threads, self._threads = self._threads, []
        until_s = time.monotonic() + within_s
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self, submitted: queue.SimpleQueue[int | None]) -> None:
        while (project_id := submitted.get()) is not None:
            with self._lock:
                self._again[project_id] = False
            try:
                self._work(project_id)
            except Exception:  # a bug costs this turn, but no lane
                log.exception("work on project %d failed", project_id, extra={"event": "live.bug"})
            with self._lock:
                is_wanted = self._again.pop(project_id, False)
            if is_wanted:
                self.submit(project_id)
