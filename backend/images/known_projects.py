"""Whether Label Studio has a project: nothing is stored or queued for a number that somebody made up."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from cachetools import TTLCache

from backend.errors import NotFound, SamloopError

log = logging.getLogger(__name__)
_MOST_KNOWN = 10_000
_KNOWN_S = 3600.0  # a project is deleted rarely; an unknown one is not remembered, for it may be made at any moment


class Projects(Protocol):
    """A Label Studio, as far as it is asked here."""

    def project(self, project_id: int, *, is_patient: bool = True) -> Mapping[str, object]:
        """As `LabelStudio.project`."""


class KnownProjects:
    """Asks Label Studio once an hour for every project. Safe for any number of threads.

    Args:
        label_studio: the project's Label Studio, None where it is not known.
    """

    def __init__(self, label_studio: Callable[[int], Projects | None]) -> None:
        self._label_studio = label_studio
        self._known: TTLCache[int, bool] = TTLCache(_MOST_KNOWN, ttl=_KNOWN_S)
        self._lock = threading.Lock()

    def is_missing(self, project_id: int) -> bool:
        """Whether Label Studio says that it has no such project; False where it cannot be asked, so nothing is lost."""
        with self._lock:
            if project_id in self._known:
                return False
        try:
            if (studio := self._label_studio(project_id)) is None:
                return False
            studio.project(project_id, is_patient=False)
        except NotFound:
            return True
        except SamloopError as fault:
            log.info("Label Studio cannot be asked for project %d: %s", project_id, fault)
            return False
        with self._lock:
            self._known[project_id] = True
        return False

    def check(self, project_id: int) -> None:
        """Let only projects pass that Label Studio may have.

        Raises:
            NotFound: it says that it has none of this number.
        """
        if self.is_missing(project_id):
            raise NotFound(
                f"Label Studio has no project {project_id}, or its key does not see it: look at the number in the "
                "project's address"
            )
