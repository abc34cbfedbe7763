"""Titles and counts of Label Studio's projects, asked at most once in five seconds: people wait for these pages."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache, TTLCache

from backend.errors import NotFound, SamloopError
from backend.images.connections import Connections
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.session import Json
from backend.review.tasks import project_url

log = logging.getLogger(__name__)

ENOUGH_IMAGES = 2  # annotated images that a training needs: one to learn from, one to measure on
_FRESH_S, _AWAY_S = 5.0, 30.0
_MOST_PROJECTS = 1000
_MOST_NAMED = 20  # projects that the error on an unknown project lists


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """What Label Studio says about a project.

    Attributes:
        project_id: its id.
        title: its name.
        tasks, annotated: how many tasks it has, and how many of them have an annotation.
        url: its data manager, for a browser.
    """

    project_id: int
    title: str
    tasks: int
    annotated: int
    url: str


class ProjectBook:
    """Titles and counts by project. Safe for any number of threads.

    Args:
        connections: finds a project's Label Studio.
        clock: returns the time, s.
    """

    def __init__(self, connections: Connections, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connections, self._lock = connections, threading.Lock()
        self._known: LRUCache[int, ProjectFacts] = LRUCache(maxsize=_MOST_PROJECTS)
        self._fresh: TTLCache[int, bool] = TTLCache(maxsize=_MOST_PROJECTS, ttl=_FRESH_S, timer=clock)
        self._away: TTLCache[str, bool] = TTLCache(maxsize=_MOST_PROJECTS, ttl=_AWAY_S, timer=clock)

    def recall(self, project_id: int) -> ProjectFacts | None:
        """Return what Label Studio said last, however long ago; None before the first answer. Never waits."""
        with self._lock:
            return self._known.get(project_id)

    def find(self, project_id: int) -> ProjectFacts | None:
        """Return what Label Studio says now, or said last if it does not answer; None where nothing is known.

        Raises:
            NotFound: Label Studio has no such project, or its key may not see it; the message lists the others.
        """
        studio = self._connections.label_studio(project_id)
        if studio is None:
            return None
        with self._lock:
            if project_id in self._fresh or studio.name in self._away:
                return self._known.get(project_id)
        try:
            facts = _facts(studio, studio.project(project_id, is_patient=False))
        except NotFound as fault:
            raise NotFound(f"{_no_project(studio, project_id)}{self._others(studio)}") from fault
        except SamloopError as fault:
            self._note_away(studio, fault)
            return self.recall(project_id)
        self._remember(facts)
        return facts

    def list_all(self) -> tuple[ProjectFacts, ...]:
        """List every project of the Label Studio in the settings, by id; () where the settings name none.

        Raises:
            SamloopError: Label Studio refuses the key, or does not answer.
        """
        studio = self._connections.label_studio(None)
        if studio is None:
            return ()
        projects = tuple(_facts(studio, row) for row in studio.projects())
        for facts in projects:
            self._remember(facts)
        return tuple(sorted(projects, key=lambda facts: facts.project_id))

    def _remember(self, facts: ProjectFacts) -> None:
        with self._lock:
            self._known[facts.project_id], self._fresh[facts.project_id] = facts, True

    def _note_away(self, studio: LabelStudio, fault: SamloopError) -> None:
        log.info("pages lack titles and counts: %s", fault, extra={"event": "review.label_studio_away"})
        with self._lock:
            self._away[studio.name] = True

    def _others(self, studio: LabelStudio) -> str:
        """The end of the message on an unknown project: which projects there are, if Label Studio answers."""
        try:
            numbers = sorted(int(row["id"]) for row in studio.projects())
        except SamloopError:
            return ""
        if not numbers:
            return "; it has none"
        more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
        return f"; it has {', '.join(map(str, numbers[:_MOST_NAMED]))}{more}"


def _no_project(studio: LabelStudio, project_id: int) -> str:
    return f"Label Studio at {studio.public_url} has no project {project_id}, or this key may not see it"


def _facts(studio: LabelStudio, row: Json) -> ProjectFacts:
    project_id = int(row["id"])
    return ProjectFacts(
        project_id=project_id,
        title=str(row.get("title") or f"project {project_id}"),
        tasks=int(row.get("task_number") or 0),
        annotated=int(row.get("num_tasks_with_annotations") or 0),
        url=str(project_url(studio, project_id)),
    )
