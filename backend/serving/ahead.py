"""Embeds the next tasks while the annotator looks at this one."""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from backend.errors import BadInput, Busy, SamloopError
from backend.labelstudio.api.client import LabelStudio
from backend.masks.crop import Crop
from backend.sam.closer.tiles import list_first_tiles
from backend.sam.predictor import Predictor
from backend.serving.embeddings.task_embeddings import TaskEmbeddings
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority, Traffic

log = logging.getLogger(__name__)
_MOST_REMEMBERED: Final = 10_000
_MOST_PROJECTS: Final = 64
_TILED_TASKS: Final = 2  # the opened task and the next: tiles of more would displace whole images from the cache
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _OpenedTask:
    """A task on an annotator's screen, and the Label Studio that lists the next tasks."""

    image: TaskImage
    project_id: int
    task_id: int
    label_studio: LabelStudio | None


class Prewarm:
    """Embeds the opened task and the `ahead` tasks after it in one thread, whenever no click is being answered.

    For a version that answers in tiles, it then embeds the first tiles of the opened task and of the next.
    The project with the newest click goes first. In a project only the last opened task counts, because its annotator
    has moved on from the others.

    Args:
        embeddings: computes and stores the images' embeddings.
        traffic: counts the annotators who wait.
        ahead: how many tasks to embed after the opened one; 0 embeds none.
        served: returns the predictor that serves a project now; None: whole images, by the encoder of `embeddings`.
    """

    def __init__(
        self,
        embeddings: TaskEmbeddings,
        *,
        traffic: Traffic,
        ahead: int,
        served: Callable[[int], Predictor] | None = None,
    ) -> None:
        self._embeddings, self._traffic, self._ahead, self._served = embeddings, traffic, ahead, served
        self._changed = threading.Condition()
        self._opened: dict[int, _OpenedTask] = {}  # by project, the newest last
        self._known: LRUCache[tuple[int, int, str, float | None], None] = LRUCache(_MOST_REMEMBERED)
        self._done: LRUCache[int, None] = LRUCache(_MOST_REMEMBERED)
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="prewarm", daemon=True)
        self._embedded = 0

    @property
    def embedded(self) -> int:
        """How many whole images it has encoded."""
        return self._embedded

    def start(self) -> "Prewarm":
        """Begin, unless `ahead` is 0."""
        if self._ahead:
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop after the image that is being embedded. Does not wait."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, *, longest_s: float) -> None:
        """After `stop`: wait at most `longest_s` seconds until the thread has ended."""
        if self._thread.is_alive():
            self._thread.join(longest_s)

    def note_opened_task(self, image: TaskImage, *, label_studio: LabelStudio | None) -> None:
        """Note that an annotator has opened a task. Returns at once; further clicks on the same task change nothing.

        Args:
            image: the task. Tasks without a project or an id are ignored.
            label_studio: lists the next tasks; with None, only the opened task is embedded.
        """
        project_id, task_id = image.project_id, image.task_id
        if not self._ahead or project_id is None or task_id is None:
            return
        with self._changed:
            magnification = None if self._served is None else self._served(project_id).magnification
            known = project_id, task_id, self._of(project_id).encoder_fingerprint, magnification
            if self._stopping or known in self._known:
                return
            self._known[known] = None
            self._opened.pop(project_id, None)
            self._opened[project_id] = _OpenedTask(image, project_id, task_id, label_studio)
            if len(self._opened) > _MOST_PROJECTS:
                del self._opened[next(iter(self._opened))]
            self._changed.notify_all()

    def _of(self, project_id: int) -> TaskEmbeddings:
        """The embeddings of the encoder that serves the project now; a swap of encoders makes its images cold again."""
        return self._embeddings if self._served is None else self._embeddings.by(self._served(project_id).base)

    def _work(self) -> None:
        while (opened := self._next()) is not None:
            try:
                self._warm(opened)
            except SamloopError as fault:
                if self._stopping:
                    return  # the lanes are closing meanwhile, and the log may be closed
                log.info(
                    "no tasks of project %d are embedded ahead: %s",
                    opened.project_id,
                    fault,
                    extra={"event": "prewarm.failed"},
                )
            except Exception:
                log.exception(
                    "no tasks of project %d are embedded ahead", opened.project_id, extra={"event": "prewarm.failed"}
                )

    def _next(self) -> _OpenedTask | None:
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._stopping)
            return None if self._stopping else self._opened.popitem()[1]

    def _warm(self, opened: _OpenedTask) -> None:
        self._embed_task(opened.image, project_id=opened.project_id)
        tasks = [opened.image]
        if opened.label_studio is not None:
            if not self._wait_for_clicks(opened):
                return
            upcoming = opened.label_studio.tabs.upcoming(opened.project_id, after=opened.task_id, limit=self._ahead)
            tasks += [replace(opened.image, task=task) for task in upcoming]
        for task in tasks[1:]:
            if not self._wait_for_clicks(opened):
                return
            self._embed_task(task, project_id=opened.project_id)
        for task in tasks[:_TILED_TASKS]:
            for part in task.parts():
                self._embed_tiles(part, opened)

    def _wait_for_clicks(self, opened: _OpenedTask) -> bool:
        """Wait until no click is being answered; return False if the annotator has moved on."""
        while not self._stopping and not self._traffic.wait_until_clear(longest_s=_POLL_S):
            pass
        return not self._stopping and opened.project_id not in self._opened

    def _embed_task(self, image: TaskImage, *, project_id: int) -> None:
        for part in image.parts():
            self._embed(part, project_id=project_id)

    def _embed_tiles(self, image: TaskImage, opened: _OpenedTask) -> None:
        """Embed the tiles in which an image's prompts are decoded first, if any, until the annotator moves on."""
        if self._served is None or (predictor := self._served(opened.project_id)).magnification is None:
            return
        embeddings = self._embeddings.by(predictor.base)
        try:
            whole = embeddings.of(image, priority=Priority.PREWARM, until_s=math.inf)
        except SamloopError:
            return  # `_embed` has said why
        if (magnification := predictor.choose_for(whole).magnification) is None:
            return
        for tile in list_first_tiles(magnification):
            if not self._wait_for_clicks(opened):
                return
            self._embed(image, project_id=opened.project_id, crop=tile.crop(whole.height_px, whole.width_px))

    def _embed(self, image: TaskImage, *, project_id: int, crop: Crop | None = None) -> None:
        """Embed one image or a part of it, once. An unusable image is only logged; a click on it gets the error."""
        embeddings = self._of(project_id)
        try:
            place = hash((image.images.name, image.uri, embeddings.encoder_fingerprint, crop))
        except BadInput as fault:
            log.debug("task %s is not embedded ahead: %s", image.name, fault)
            return
        if place in self._done:
            return
        try:
            computed = embeddings.warm(image, priority=Priority.PREWARM, until_s=math.inf, crop=crop)
        except Busy:
            return  # a click on it will embed it
        except SamloopError as fault:
            log.debug("task %s is not embedded ahead: %s", image.name, fault)
            computed = False
        self._done[place] = None
        self._embedded += computed and crop is None
