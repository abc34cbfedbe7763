"""Remembers each project's last refused clicks, because Label Studio shows annotators nothing about them."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from cachetools import LRUCache

_MOST_PROJECTS, _MOST_OF_A_PROJECT, _LONGEST = 1000, 10, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused click: when (ISO 8601, UTC), on which task (None if the request named none), and why."""

    at: str
    task_id: int | None
    reason: str


class Refusals:
    """The last ten refusals of a project, for the last thousand projects. Safe for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_project: LRUCache[int, deque[Refusal]] = LRUCache(maxsize=_MOST_PROJECTS)

    def note(self, project_id: int, *, task_id: int | None, reason: str) -> None:
        """Remember a refused click. The reason is cut after 500 characters."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        refusal = Refusal(at=at, task_id=task_id, reason=reason[:_LONGEST])
        with self._lock:
            if project_id not in self._by_project:
                self._by_project[project_id] = deque(maxlen=_MOST_OF_A_PROJECT)
            self._by_project[project_id].append(refusal)

    def last(self, project_id: int) -> tuple[Refusal, ...]:
        """Return the project's last refusals, the latest first."""
        with self._lock:
            return tuple(reversed(self._by_project.get(project_id, ())))
