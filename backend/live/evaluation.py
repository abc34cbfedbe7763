"""Live evaluation: every submitted annotation that began with our masks is compared with them, in the background.

The webhook only writes down which annotation it was; a thread fetches the task with its predictions, compares, and
writes down what it found. Label Studio waits a second for a webhook, while somebody waits for it: comparing masks takes
longer than that in a large image, and Label Studio may be slow to tell.
"""

import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from backend.errors import NotFound, SamloopError, Unavailable
from backend.files.durable import make_inside
from backend.ids import find_project_id
from backend.labelstudio.api.client import NAME_LABEL_STUDIO
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.webhook import AnnotationChange
from backend.live.comparing import Given, compare, given_by_prediction, region_ids, version_of
from backend.live.ledger import Ledger, Pending
from backend.live.sent import SentRegions

log = logging.getLogger(__name__)
_ADOPT_AFTER_S = 60.0  # what another process was told of, and has not compared by then
_LOOK_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_PATIENCE_S = 10.0  # a webhook may come before what it tells of can be read
_MOST_WAITING = 64  # answers whose regions are still to be written
_MOST_FAILURES = 2  # of a project's annotations in a row; a Label Studio that is away is asked no more
_LONGEST_STOP_S = 5.0
_FILE = "annotations.jsonl"


class Tasks(Protocol):
    """The part of Label Studio's client that is needed."""

    def task(self, task_id: int) -> Mapping[str, Any]:
        """One task with its annotations and predictions."""


class LiveEvaluation:
    """Safe for any number of threads, and of processes over one folder.

    Args:
        root: it, and in it a folder for each project, are made in MODEL_DIR, where that stands.
        label_studio: the project's Label Studio, None where it is not known.
        max_pixels: larger images are not compared.
        adopt_after_s: when what another process should have compared is taken over.

    Attributes:
        counts: `compared` and `unknown` masks; `failed` annotations; `unwritten` events and `unremembered` answers,
            which the disk did not take or this process could not follow.
    """

    def __init__(
        self,
        root: Path,
        *,
        label_studio: Callable[[int], Tasks | None],
        max_pixels: int,
        adopt_after_s: float = _ADOPT_AFTER_S,
    ) -> None:
        self._root, self._label_studio, self._max_pixels = root, label_studio, max_pixels
        self._adopt_after_s = adopt_after_s
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._ledgers: dict[int, Ledger] = {}
        self._sent: dict[int, SentRegions] = {}
        self._failed: dict[int, set[int]] = {}  # by project: annotations that could not be compared at the last try
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._answers: queue.Queue[tuple[int, Sequence[Mapping[str, Any]]] | None] = queue.Queue(_MOST_WAITING)
        self._wake, self._stopping = threading.Event(), threading.Event()
        self.counts: Counter[str] = Counter()

    def start(self) -> "LiveEvaluation":
        """Begin to compare; what was left over from before comes first."""
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._run, name="live-evaluation", daemon=True),
            threading.Thread(target=self._write, name="live-sent", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End; what is not compared yet waits in the file. Harmless when repeated."""
        threads, self._threads = self._threads, []
        if not threads:
            return  # a None that nobody takes would end the next writer
        with suppress(queue.Full):  # a writer with so much to do sees by itself that it is over
            self._answers.put_nowait(None)
        self._stopping.set()  # afterwards, or the writer could be gone by then, and its successor find the None
        self._wake.set()
        for thread in threads:
            thread.join(_LONGEST_STOP_S)

    def told(self, project_id: int, changes: Iterable[AnnotationChange]) -> None:
        """Take down what a webhook tells; takes less than a millisecond an annotation."""
        ledger = self._ledger(project_id)
        for change in changes:
            try:
                self._make_folder(project_id)
                if change.task_id is None:
                    ledger.append(k="gone", a=change.annotation_id)
                else:
                    ledger.append(
                        k="seen", a=change.annotation_id, t=change.task_id, at=change.at, p=self._process, s=time.time()
                    )
            except OSError as fault:
                self.counts["unwritten"] += 1
                log.warning("an annotation will not be compared: %s", fault, extra={"event": "live.unwritten"})
        self._wake.set()

    def sent(self, project_id: int, regions: Sequence[Mapping[str, Any]]) -> None:
        """Remember the regions of an answer, without holding it up."""
        ours = [region for region in regions if region_of(region).model_version]
        try:
            if ours:
                self._answers.put_nowait((project_id, ours))
        except queue.Full:
            self.counts["unremembered"] += 1

    def figures(self, project_id: int) -> dict[str, dict[str, Any]]:
        """By version: `n` masks, `iou`, `boundary_iou`, `untouched` (share), `lead_time_s`, `labels`, ...; {} for none.

        All are means over masks that people were given, `lead_time_s` over their annotations, `boundary_iou_ema` the
        moving mean over the latest.
        """
        return self._ledger(project_id).figures()

    def count(self, name: str) -> float:
        """One of `counts`."""
        return float(self.counts[name])

    def projects(self) -> tuple[int, ...]:
        """Ids of the projects in which something was submitted."""
        if not self._root.is_dir():
            return ()
        names = (find_project_id(path.name) for path in self._root.iterdir())
        return tuple(sorted(project_id for project_id in names if project_id is not None))

    def waiting(self) -> int:
        """Annotations that are still to be compared."""
        return sum(len(self._ledger(project_id).pending()) for project_id in self.projects())

    def compare_waiting(self) -> int:
        """Compare what waits, and tell how many annotations still do; the thread calls it again and again.

        Raises:
            SamloopError, OSError: a Label Studio cannot be asked, or a disk not be written; what was not compared waits
                on, and all other projects had their turn.
        """
        left, away = 0, None
        for project_id in self.projects():
            try:
                left += self._compare_in(project_id)
            except (SamloopError, OSError) as fault:
                away = away or fault
        if away is not None:
            raise away
        return left

    def _compare_in(self, project_id: int) -> int:
        """Compare what waits in one project; how many still do."""
        ledger = self._ledger(project_id)
        waiting, left = ledger.pending(), 0
        faults: list[SamloopError] = []
        # Last, those that failed before: a task that Label Studio cannot show must not keep all others waiting.
        failed = self._failed.get(project_id, set()) & waiting.keys()
        for annotation_id in sorted(waiting, key=failed.__contains__):
            if self._stopping.is_set() or len(faults) == _MOST_FAILURES:
                break
            pending = waiting[annotation_id]
            mine = pending.process == self._process or time.time() - pending.seen_s >= self._adopt_after_s
            try:
                left += not mine or not self._compare(project_id, annotation_id, pending)
            except SamloopError as fault:
                failed.add(annotation_id)
                faults.append(fault)
        self._failed[project_id] = failed
        if faults:
            raise faults[0]
        ledger.compact()
        return left

    def _compare(self, project_id: int, annotation_id: int, pending: Pending) -> bool:
        """Compare one annotation; False where Label Studio does not show yet what its webhook told of."""
        ledger = self._ledger(project_id)
        try:
            task = self._task(project_id, pending.task_id)
            annotation = _by_number(task.get("annotations"), annotation_id)
            is_stale = annotation is None or str(annotation.get("updated_at") or "") < pending.at
            if is_stale and time.time() - pending.seen_s < _PATIENCE_S:
                return False
            if annotation is None or annotation.get("was_cancelled"):
                ledger.append(k="gone", a=annotation_id)
                return True
            at = max(pending.at, str(annotation.get("updated_at") or ""))
            compared, unknown = self._compared(project_id, annotation, task)
            self.counts.update(compared=len(compared), unknown=unknown)
            if unknown and not compared and ledger.is_counted(annotation_id):
                ledger.append(k="kept", a=annotation_id, at=at)
                return True
            lead_s = annotation.get("lead_time")
            ledger.append(
                k="done",
                a=annotation_id,
                at=at,
                lead_s=float(lead_s) if isinstance(lead_s, int | float) and not isinstance(lead_s, bool) else None,
                m=[[each.version, each.label, each.iou, each.boundary_iou, each.untouched] for each in compared],
            )
        except (SamloopError, OSError):
            raise
        except Exception:
            # It would fail again: once is enough for the log, and those behind it have their turn.
            self.counts["failed"] += 1
            log.exception("annotation %d cannot be compared", annotation_id, extra={"event": "live.failed"})
            ledger.append(k="kept", a=annotation_id, at=pending.at)
        return True

    def _compared(
        self, project_id: int, annotation: Mapping[str, Any], task: Mapping[str, Any]
    ) -> tuple[Sequence[Any], int]:
        prediction = _by_number(task.get("predictions"), annotation.get("parent_prediction"))
        given = given_by_prediction(prediction) if prediction is not None else {}
        # What a click made of a predicted mask was given later than the prediction, under the same id.
        for region_id, sent in self._sent_in(project_id).recall(region_ids(annotation)).items():
            region = region_of(sent)
            given[region_id] = Given(region=region, version=version_of(region) or "", shown=region_id in given)
        return compare(annotation, given, max_pixels=self._max_pixels)

    def _task(self, project_id: int, task_id: int) -> Mapping[str, Any]:
        studio = self._label_studio(project_id)
        if studio is None:
            raise Unavailable(f"the Label Studio of project {project_id} is not known: {NAME_LABEL_STUDIO}")
        try:
            return studio.task(task_id)
        except NotFound:
            return {}

    def _run(self) -> None:
        pause_s, said = _FIRST_PAUSE_S, ""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                left = self.compare_waiting()
                pause_s, said = _FIRST_PAUSE_S, ""
                self._wake.wait(_FIRST_PAUSE_S if left else _LOOK_S)
            except (SamloopError, OSError) as fault:
                if str(fault) != said:
                    log.warning("annotations wait to be compared: %s", fault, extra={"event": "live.waiting"})
                said = str(fault)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _write(self) -> None:
        while not (self._stopping.is_set() and self._answers.empty()) and (answer := self._answers.get()) is not None:
            try:
                self._make_folder(answer[0])
                self._sent_in(answer[0]).keep(answer[1])
            except OSError as fault:
                self.counts["unremembered"] += 1
                log.warning("what was sent is not kept: %s", fault, extra={"event": "live.unremembered"})
            except Exception:  # a bug costs this answer, and not all that come after it
                self.counts["unremembered"] += 1
                log.exception("what was sent is not kept", extra={"event": "live.unremembered"})

    def _make_folder(self, project_id: int) -> None:
        make_inside(self._root.parent, self._root / str(project_id))

    def _ledger(self, project_id: int) -> Ledger:
        with self._lock:
            path = self._root / str(project_id) / _FILE
            ledger = self._ledgers.get(project_id) or Ledger(path)
            if path.parent.is_dir():  # nothing is kept of a project of which nothing is known: anybody may ask for any
                self._ledgers[project_id] = ledger
            return ledger

    def _sent_in(self, project_id: int) -> SentRegions:
        with self._lock:
            return self._sent.setdefault(project_id, SentRegions(self._root / str(project_id) / "sent"))


def _by_number(rows: object, number: object) -> Mapping[str, Any] | None:
    candidates = rows if isinstance(rows, list) else []
    return next((row for row in candidates if isinstance(row, Mapping) and row.get("id") == number), None)
