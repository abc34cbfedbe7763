"""Embeds the tasks that come next, while the annotator looks at this one."""

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.errors import Busy, SamloopError
from backend.images.source import ImageSource
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.sam.loading import BaseModel
from backend.serving.task_embeddings import TaskEmbeddings, image_uri
from backend.serving.traffic import Priority, Traffic

log = logging.getLogger(__name__)
_MOST_REMEMBERED = 10_000
_MOST_PROJECTS = 64
_POLL_S = 0.5

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Opened:
    task: Mapping[str, Any] = field(repr=False)
    project_id: int
    label_config: str = field(repr=False)
    images: ImageSource
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
        self._opened: OrderedDict[int, _Opened] = OrderedDict()
        self._known: OrderedDict[tuple[int, int, str], None] = OrderedDict()
        self._done: OrderedDict[int, None] = OrderedDict()
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

    def opened(
        self,
        task: Mapping[str, Any],
        *,
        project_id: int,
        label_config: str,
        images: ImageSource,
        label_studio: LabelStudio | None,
    ) -> None:
        """A task is on somebody's screen. Returns at once; further clicks on the same task change nothing."""
        task_id = task.get("id")
        if not self._ahead or not isinstance(task_id, int):
            return
        with self._changed:
            known = project_id, task_id, self._of(project_id).encoder_fingerprint
            if self._stopping or known in self._known:
                return
            _remember(self._known, known, None, most=_MOST_REMEMBERED)
            found = _Opened(task, project_id, label_config, images, label_studio)
            _remember(self._opened, project_id, found, most=_MOST_PROJECTS)
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

    def _next(self) -> _Opened | None:
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._stopping)
            return None if self._stopping else self._opened.popitem()[1]

    def _warm(self, opened: _Opened) -> None:
        config = parse_label_config(opened.label_config)
        self._embed(opened.task, opened=opened, config=config)
        task_id = opened.task.get("id")
        if opened.label_studio is None or not isinstance(task_id, int) or not self._clear(opened):
            return
        for task in opened.label_studio.upcoming_tasks(opened.project_id, after=task_id, limit=self._ahead):
            if not self._clear(opened):
                return
            self._embed(task, opened=opened, config=config)

    def _clear(self, opened: _Opened) -> bool:
        """Wait for the clicks; False if the work is no longer wanted."""
        while not self._stopping and not self._traffic.wait_until_clear(longest_s=_POLL_S):
            pass
        return not self._stopping and opened.project_id not in self._opened

    def _embed(self, task: Mapping[str, Any], *, opened: _Opened, config: LabelConfig) -> None:
        """Embed one image, once; an image that cannot be used is the matter of whoever clicks on it."""
        embeddings = self._of(opened.project_id)
        try:
            place = hash((opened.images.name, image_uri(task, config), embeddings.encoder_fingerprint))
            if place in self._done:
                return
            computed = embeddings.warm(
                task, config=config, images=opened.images, priority=Priority.PREWARM, until_s=math.inf
            )
        except Busy:
            return  # it comes when it is clicked on
        except SamloopError as fault:
            log.debug("task %s is not warmed up: %s", task.get("id"), fault)
            computed = False
        _remember(self._done, place, None, most=_MOST_REMEMBERED)
        self._embedded += computed


def _remember(kept: OrderedDict[K, V], key: K, value: V, *, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
