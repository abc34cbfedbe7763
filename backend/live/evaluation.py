"""Live evaluation: compares every submitted annotation with the masks of ours that it began with, in the background.

A webhook only writes down the annotation's id. A thread fetches the task with its predictions, compares the masks and
writes down the result. The webhook must not do that itself: Label Studio waits a second for it while the annotator
waits for Label Studio, and a large image's comparison takes longer.
"""

import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache

from backend.errors import SamloopError, Unavailable
from backend.files.durable import make_inside
from backend.ids import find_project_id
from backend.labelstudio.api.client import NAME_LABEL_STUDIO
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.payloads import Region
from backend.labelstudio.webhook import AnnotationChange
from backend.live.backlog import Backlog, Tasks
from backend.live.figures import VersionFigures
from backend.live.lanes import ProjectLanes
from backend.live.ledger import Ledger
from backend.live.lines import Gone, Seen
from backend.live.sent import SentRegions
from backend.registry.state import ONE_DISK, Sharing

log = logging.getLogger(__name__)
_ADOPT_AFTER_S = 60.0  # after which we adopt another process's annotation
_LOOK_S, _LOOK_AGAIN_S = 30.0, 1.0
_LANES = 4  # projects whose Label Studio is asked at once
_MOST_WAITING = 64  # answers whose regions are not written yet
_LONGEST_STOP_S = 5.0
_FILE = "annotations.jsonl"
_MOST_RECENT = 100  # projects of which every scrape of /metrics is told


class LiveEvaluation:
    """Compares what people submit with what we sent. Safe for any number of threads, and of processes on one folder.

    Args:
        root: a folder in MODEL_DIR; it is made, with a folder for every project, if MODEL_DIR exists.
        label_studio: returns the project's Label Studio, or None where it is not known.
        max_pixels: masks of larger images are not compared, px.
        adopt_after_s: how old an annotation of another process must be before this process adopts it, s.
        is_missing: returns whether Label Studio has no such project. Nothing is remembered of a missing project.
        sharing: brings the folder's files to other machines.
        clock: returns the time by which pauses are measured, s.

    Attributes:
        counts: numbers of `compared` and `unknown` masks, of `failed` annotations, and of `unwritten` events and
            `unremembered` answers, which the disk refused or this process was too busy to write.
    """

    def __init__(  # noqa: PLR0913 - all but one by name
        self,
        root: Path,
        *,
        label_studio: Callable[[int], Tasks | None],
        max_pixels: int,
        adopt_after_s: float = _ADOPT_AFTER_S,
        is_missing: Callable[[int], bool] = lambda _: False,
        sharing: Sharing = ONE_DISK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._label_studio, self._max_pixels = root, label_studio, max_pixels
        self._adopt_after_s, self._is_missing, self._sharing = adopt_after_s, is_missing, sharing
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._ledgers: dict[int, Ledger] = {}
        self._sent: dict[int, SentRegions] = {}
        self._backlogs: dict[int, Backlog] = {}
        self._said: dict[int, str] = {}
        self._lanes = ProjectLanes(self._compare_in_lane, lanes=_LANES, name="live-comparing")
        self._turn, self._clock = threading.Lock(), clock
        self._threads: list[threading.Thread] = []
        self._recent: LRUCache[int, bool] | None = None
        self._lock = threading.Lock()
        self._answers: queue.Queue[tuple[int, Sequence[Region]] | None] = queue.Queue(_MOST_WAITING)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self.counts: Counter[str] = Counter()

    def start(self) -> "LiveEvaluation":
        """Begin to compare, starting with what an earlier process left."""
        self._stopping.clear()
        self._lanes.start()
        self._threads = [
            threading.Thread(target=self._run, name="live-evaluation", daemon=True),
            threading.Thread(target=self._write, name="live-sent", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End. Annotations that are not compared yet stay in the ledger. Harmless when repeated."""
        threads, self._threads = self._threads, []
        if not threads:
            return  # a leftover None would end the next writer
        with suppress(queue.Full):  # a busy writer looks at `_stopping` by itself
            self._answers.put_nowait(None)
        self._stopping.set()  # only now: a writer that ended earlier would leave the None to its successor
        self._wake.set()
        for thread in threads:
            thread.join(_LONGEST_STOP_S)
        self._lanes.stop(within_s=_LONGEST_STOP_S)

    def note_changes(self, project_id: int, changes: Iterable[AnnotationChange]) -> None:
        """Write down a webhook's changes, in less than a millisecond per annotation."""
        ledger = self._ledger(project_id)
        self.recent_projects()
        with self._lock:
            if self._recent is not None:
                self._recent[project_id] = True
        lines = [self._line_of(change) for change in changes]
        try:
            self._make_folder(project_id)
            ledger.append(*lines)
        except OSError as fault:
            self.counts["unwritten"] += len(lines)
            log.warning("annotations will not be compared: %s", fault, extra={"event": "live.unwritten"})
        self._wake.set()

    def _line_of(self, change: AnnotationChange) -> Seen | Gone:
        if change.task_id is None:
            return Gone(annotation_id=change.annotation_id)
        return Seen(
            annotation_id=change.annotation_id,
            task_id=change.task_id,
            at=change.at,
            process=self._process,
            seen_s=time.time(),
        )

    def knows(self, project_id: int, change: AnnotationChange) -> bool:
        """Return whether a webhook, or a look for missed webhooks, has reported this change already."""
        latest = self._ledger(project_id).latest_at(change.annotation_id)
        return latest is None if change.task_id is None else latest is not None and latest >= change.at

    def list_known(self, project_id: int) -> dict[int, str]:
        """Return the latest known `updated_at` of every annotation that was reported and not deleted, by id."""
        return self._ledger(project_id).list_known()

    def remember_sent(self, project_id: int, regions: Sequence[Region]) -> None:
        """Remember the regions of an answer, without delaying the answer."""
        ours = [region for region in regions if region_of(region).model_version]
        try:
            if ours:
                self._answers.put_nowait((project_id, ours))
        except queue.Full:
            self.counts["unremembered"] += 1

    def figures(self, project_id: int) -> dict[str, VersionFigures]:
        """Return how much people changed our masks, by version; {} where nothing was submitted."""
        return self._ledger(project_id).figures()

    def count(self, name: str) -> float:
        """Return one of `counts`."""
        return float(self.counts[name])

    def projects(self) -> tuple[int, ...]:
        """Return the ids of the projects in which something was submitted."""
        self._sharing.list_folders(self._root)
        if not self._root.is_dir():
            return ()
        names = (find_project_id(path.name) for path in self._root.iterdir())
        return tuple(sorted(project_id for project_id in names if project_id is not None))

    def recent_projects(self) -> tuple[int, ...]:
        """Return at most 100 of `projects`: those with the last changes here, and after a start the newest."""
        with self._lock:
            if self._recent is not None:
                return tuple(sorted(self._recent))
        ascending = self.projects()  # looked up once: a folder of ten thousand takes a while to list
        with self._lock:
            if self._recent is None:
                self._recent = LRUCache(_MOST_RECENT)
                self._recent.update(dict.fromkeys(ascending, True))
            return tuple(sorted(self._recent))

    def count_waiting(self, *, project_ids: Iterable[int] | None = None) -> int:
        """Return how many annotations wait to be compared, in these projects or in all."""
        among = self.projects() if project_ids is None else project_ids
        return sum(len(self._ledger(project_id).pending()) for project_id in among)

    def compare_waiting(self) -> int:
        """Compare the waiting annotations now, project by project, and return how many still wait.

        Raises:
            SamloopError: a Label Studio does not answer.
            OSError: a ledger cannot be written. The remaining annotations keep waiting; every other project had its
                turn.
        """
        left, away = 0, None
        for project_id in self.projects():
            try:
                left += self._backlog(project_id).compare(is_stopping=self._stopping.is_set)
            except (SamloopError, OSError) as fault:
                away = away or fault
        if away is not None:
            raise away
        return left

    def _backlog(self, project_id: int) -> Backlog:
        if project_id not in self._backlogs:
            self._backlogs[project_id] = Backlog(
                ledger=self._ledger(project_id),
                sent=self._open_sent(project_id),
                label_studio=lambda: self._find_studio(project_id),
                max_pixels=self._max_pixels,
                process=self._process,
                adopt_after_s=self._adopt_after_s,
                counts=self.counts,
                turn=self._turn,
                clock=self._clock,
            )
        return self._backlogs[project_id]

    def _find_studio(self, project_id: int) -> Tasks:
        studio = self._label_studio(project_id)
        if studio is None:
            raise Unavailable(f"the Label Studio of project {project_id} is not known: {NAME_LABEL_STUDIO}")
        return studio

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                waiting = [project_id for project_id in self.projects() if self._ledger(project_id).pending()]
            except OSError as fault:
                log.warning("annotations wait to be compared: %s", fault, extra={"event": "live.waiting"})
                waiting = []
            for project_id in waiting:
                self._lanes.submit(project_id)
            self._wake.wait(_LOOK_AGAIN_S if waiting else _LOOK_S)

    def _compare_in_lane(self, project_id: int) -> None:
        """Compare what waits in a project, and say once why it has to wait longer."""
        try:
            self._backlog(project_id).compare(is_stopping=self._stopping.is_set)
            self._said.pop(project_id, None)
        except (SamloopError, OSError) as fault:
            if str(fault) != self._said.get(project_id):
                log.warning(
                    "annotations of project %d wait to be compared: %s",
                    project_id,
                    fault,
                    extra={"event": "live.waiting", "project_id": project_id},
                )
            self._said[project_id] = str(fault)

    def _write(self) -> None:
        while not (self._stopping.is_set() and self._answers.empty()) and (answer := self._answers.get()) is not None:
            try:
                if self._is_missing(answer[0]):
                    continue
                self._make_folder(answer[0])
                self._open_sent(answer[0]).keep(answer[1])
            except OSError as fault:
                self.counts["unremembered"] += 1
                log.warning("the regions of an answer were not stored: %s", fault, extra={"event": "live.unremembered"})
            except Exception:  # a bug costs this answer, but none after it
                self.counts["unremembered"] += 1
                log.exception("the regions of an answer were not stored", extra={"event": "live.unremembered"})

    def _make_folder(self, project_id: int) -> None:
        make_inside(self._root.parent, self._root / str(project_id))

    def _ledger(self, project_id: int) -> Ledger:
        with self._lock:
            path = self._root / str(project_id) / _FILE
            ledger = self._ledgers.get(project_id) or Ledger(path, sharing=self._sharing)
            if path.parent.is_dir():  # unknown projects are not cached, or callers could fill memory with made-up ids
                self._ledgers[project_id] = ledger
            return ledger

    def _open_sent(self, project_id: int) -> SentRegions:
        with self._lock:
            folder = self._root / str(project_id) / "sent"
            return self._sent.setdefault(project_id, SentRegions(folder, sharing=self._sharing))
