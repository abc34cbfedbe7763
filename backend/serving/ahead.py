"""Embeds the tasks that come next, while the annotator looks at this one."""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from backend.errors import BadInput, Busy, SamloopError
from backend.labelstudio.api.client import LabelStudio
from backend.sam.loading import BaseModel
from backend.serving.embeddings.task_embeddings import TaskEmbeddings
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority, Traffic

log = logging.getLogger(__name__)
_MOST_REMEMBERED: Final = 10_000
_MOST_PROJECTS: Final = 64
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _OpenedTask:
    """A task on somebody's screen, and the Label Studio that tells which tasks come next."""

    image: TaskImage
    project_id: int
    task_id: int
    label_studio: LabelStudio | None


class Prewarm:
    """One thread that embeds the opened task and `ahead` tasks after it, whenever no click is being answered.

    The newest project first; of a project only the task that was opened last counts, for its annotator is there.

    Args:
        embeddings: where the images' embeddings come from, and stay.
        traffic: tells when annotators wait.
        ahead: how many tasks after the opened one; 0 switches it off.
        served: the base whose encoder a project is served with at the moment; None: always that of the embeddings.
    """

    def __init__(
        self,
        embeddings: TaskEmbeddings,
        *,
        traffic: Traffic,
        ahead: int,
        served: Callable[[int], BaseModel] | None = None,
    ) -> None:
        self._embeddings, self._traffic, self._ahead, self._served = embeddings, traffic, ahead, served
        self._changed = threading.Condition()
        self._opened: dict[int, _OpenedTask] = {}  # by project, the newest last
        self._known: LRUCache[tuple[int, int, str], None] = LRUCache(_MOST_REMEMBERED)
        self._done: LRUCache[int, None] = LRUCache(_MOST_REMEMBERED)
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="prewarm", daemon=True)
        self._embedded = 0

    @property
    def embedded(self) -> int:
        """How many images were encoded ahead."""
        return self._embedded

    def start(self) -> "Prewarm":
        """Begin, unless it is switched off."""
        if self._ahead:
            self._thread.start()
        return self

    def stop(self) -> None:
        """End after the image that is being embedded, if any."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, *, longest_s: float) -> None:
        """After `stop`: wait until it has ended, but not longer than so many seconds."""
        if self._thread.is_alive():
            self._thread.join(longest_s)

    def note_opened_task(self, image: TaskImage, *, label_studio: LabelStudio | None) -> None:
        """A task is on somebody's screen. Returns at once; further clicks on the same task change nothing.

        Args:
            image: the task; one without a project or a number is let be.
            label_studio: tells which tasks come next; None where none is known: the opened task alone is embedded.
        """
        project_id, task_id = image.project_id, image.task_id
        if not self._ahead or project_id is None or task_id is None:
            return
        with self._changed:
            known = project_id, task_id, self._of(project_id).encoder_fingerprint
            if self._stopping or known in self._known:
                return
            self._known[known] = None
            self._opened.pop(project_id, None)
            self._opened[project_id] = _OpenedTask(image, project_id, task_id, label_studio)
            if len(self._opened) > _MOST_PROJECTS:
                del self._opened[next(iter(self._opened))]
            self._changed.notify_all()

    def _of(self, project_id: int) -> TaskEmbeddings:
        """As the project is served now: after a swap of encoders its images are cold again."""
        return self._embeddings if self._served is None else self._embeddings.by(self._served(project_id))

    def _work(self) -> None:
        while (opened := self._next()) is not None:
            try:
                self._warm(opened)
            except SamloopError as fault:
                if self._stopping:
                    return  # what it needs is being closed under it, and so may be the log
                log.info(
                    "project %d is not warmed up ahead: %s", opened.project_id, fault, extra={"event": "prewarm.failed"}
                )
            except Exception:
                log.exception("project %d is not warmed up ahead", opened.project_id, extra={"event": "prewarm.failed"})

    def _next(self) -> _OpenedTask | None:
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._stopping)
            return None if self._stopping else self._opened.popitem()[1]

    def _warm(self, opened: _OpenedTask) -> None:
        self._embed_task(opened.image, project_id=opened.project_id)
        if opened.label_studio is None or not self._wait_for_clicks(opened):
            return
        upcoming = opened.label_studio.tabs.upcoming(opened.project_id, after=opened.task_id, limit=self._ahead)
        for task in upcoming:
            if not self._wait_for_clicks(opened):
                return
            self._embed_task(replace(opened.image, task=task), project_id=opened.project_id)

    def _wait_for_clicks(self, opened: _OpenedTask) -> bool:
        """Wait until no click is being answered; False if the work is no longer wanted."""
        while not self._stopping and not self._traffic.wait_until_clear(longest_s=_POLL_S):
            pass
        return not self._stopping and opened.project_id not in self._opened

    def _embed_task(self, image: TaskImage, *, project_id: int) -> None:
        for part in image.parts():
            self._embed(part, project_id=project_id)

    def _embed(self, image: TaskImage, *, project_id: int) -> None:
        """Embed one image, once; an image that cannot be used is the matter of whoever clicks on it."""
        embeddings = self._of(project_id)
        try:
            place = hash((image.images.name, image.uri, embeddings.encoder_fingerprint))
        except BadInput as fault:
            log.debug("task %s is not warmed up: %s", image.name, fault)
            return
        if place in self._done:
            return
        try:
            computed = embeddings.warm(image, priority=Priority.PREWARM, until_s=math.inf)
        except Busy:
            return  # it comes when it is clicked on
        except SamloopError as fault:
            log.debug("task %s is not warmed up: %s", image.name, fault)
            computed = False
        self._done[place] = None
        self._embedded += computed
