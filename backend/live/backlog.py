"""Submitted annotations that wait to be compared with the masks they began with.

Any number of processes share a project's backlog. The process that received an annotation's webhook compares it; after
a while another process adopts what a dead one left behind.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from backend.errors import NotFound, SamloopError
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.payloads import Annotation, Task
from backend.live.comparing import Comparison, Given, compare, find_version, index_prediction, list_region_ids
from backend.live.ledger import Ledger
from backend.live.lines import Done, Gone, Kept, Seen
from backend.live.sent import SentRegions

log = logging.getLogger(__name__)
_PATIENCE_S = 10.0  # a webhook may come before its annotation can be read
_MOST_FAILURES = 2  # in one look; then Label Studio counts as away, and we stop asking
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class Tasks(Protocol):
    """The part of Label Studio's client that a backlog needs."""

    def task(self, task_id: int) -> Task:
        """Return a task with its annotations and predictions."""


class Backlog:
    """The annotations that wait in one project.

    An annotation whose task Label Studio does not show is asked for again after a pause, which doubles from one second
    to a minute; annotations that arrive meanwhile do not wait for it.

    Args:
        ledger: the project's ledger, which lists what waits and takes the comparisons.
        sent: the regions that answered this project's clicks.
        label_studio: returns the project's Label Studio; raises Unavailable where it is not known.
        max_pixels: masks of larger images are not compared, px.
        process: the name of this process in the ledger.
        adopt_after_s: how old an annotation of another process must be before this process adopts it, s.
        counts: takes the numbers of `compared` and `unknown` masks and of `failed` annotations.
        turn: held while masks are compared, so that the backlogs of several projects use one core between them.
        clock: returns the time by which pauses are measured, s.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        ledger: Ledger,
        sent: SentRegions,
        label_studio: Callable[[], Tasks],
        max_pixels: int,
        process: str,
        adopt_after_s: float,
        counts: Counter[str],
        turn: threading.Lock,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._sent, self._label_studio = ledger, sent, label_studio
        self._max_pixels, self._process, self._adopt_after_s = max_pixels, process, adopt_after_s
        self._counts, self._turn, self._clock = counts, turn, clock
        self._failed: dict[int, None] = {}  # annotations whose last comparison failed, the latest last
        self._is_away, self._due_s, self._pause_s = False, 0.0, _FIRST_PAUSE_S

    def compare(self, *, is_stopping: Callable[[], bool]) -> int:
        """Compare the waiting annotations until none is left or `is_stopping`; return how many still wait.

        Raises:
            SamloopError: Label Studio does not answer; the remaining annotations keep waiting.
            OSError: the ledger cannot be written.
        """
        waiting = self._ledger.pending()
        turns = self._list_turns(waiting)
        faults: list[SamloopError] = []
        while turns and len(faults) < _MOST_FAILURES and not is_stopping():
            annotation_id = turns.pop(0)
            self._failed.pop(annotation_id, None)
            try:
                if self._is_ours(waiting[annotation_id]) and self._settle(waiting[annotation_id]):
                    del waiting[annotation_id]
            except SamloopError as fault:
                self._failed[annotation_id] = None
                faults.append(fault)
        if faults:
            self._is_away = any(annotation_id not in self._failed for annotation_id in turns)
            self._due_s = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            raise faults[0]
        self._ledger.compact()
        return len(waiting)

    def _list_turns(self, waiting: Mapping[int, Seen]) -> list[int]:
        """Return the annotations whose turn it is. Those that failed come last, and only after their pause."""
        self._failed = dict.fromkeys(annotation_id for annotation_id in self._failed if annotation_id in waiting)
        if not self._failed:
            self._is_away, self._due_s, self._pause_s = False, 0.0, _FIRST_PAUSE_S
        is_due = self._clock() >= self._due_s
        if self._is_away and not is_due:
            return []
        fresh = [annotation_id for annotation_id in waiting if annotation_id not in self._failed]
        return fresh + (list(self._failed) if is_due else [])

    def _is_ours(self, seen: Seen) -> bool:
        return seen.process == self._process or time.time() - seen.seen_s >= self._adopt_after_s

    def _settle(self, seen: Seen) -> bool:
        """Compare one annotation; False where Label Studio does not show yet what its webhook announced."""
        try:
            line = self._line_for(seen)
            if line is None:
                return False
            self._ledger.append(line)
        except (SamloopError, OSError):
            raise
        except Exception:
            # It would fail again. Log it once, and go on with the annotations behind it.
            with self._turn:
                self._counts["failed"] += 1
            log.exception("annotation %d cannot be compared", seen.annotation_id, extra={"event": "live.failed"})
            self._ledger.append(Kept(annotation_id=seen.annotation_id, at=seen.at))
        return True

    def _line_for(self, seen: Seen) -> Done | Kept | Gone | None:
        task = self._task(seen.task_id)
        annotation = _find_row(task.get("annotations"), seen.annotation_id)
        is_stale = annotation is None or str(annotation.get("updated_at") or "") < seen.at
        if is_stale and time.time() - seen.seen_s < _PATIENCE_S:
            return None
        if annotation is None or annotation.get("was_cancelled"):
            return Gone(annotation_id=seen.annotation_id)
        at = max(seen.at, str(annotation.get("updated_at") or ""))
        with self._turn:
            comparison = self._comparison(annotation, task)
            self._counts.update(compared=len(comparison.masks), unknown=comparison.unknown)
        if comparison.unknown and not comparison.masks and self._ledger.is_counted(seen.annotation_id):
            return Kept(annotation_id=seen.annotation_id, at=at)
        return Done(
            annotation_id=seen.annotation_id,
            at=at,
            lead_s=_read_seconds(annotation.get("lead_time")),
            masks=comparison.masks,
        )

    def _comparison(self, annotation: Annotation, task: Task) -> Comparison:
        prediction = _find_row(task.get("predictions"), annotation.get("parent_prediction"))
        given = index_prediction(prediction) if prediction is not None else {}
        # A click's answer follows the prediction that it changed, under the same id, and so takes its place.
        for region_id, sent in self._sent.recall(list_region_ids(annotation)).items():
            region = region_of(sent)
            given[region_id] = Given(region=region, version=find_version(region) or "", shown=region_id in given)
        return compare(annotation, given, max_pixels=self._max_pixels)

    def _task(self, task_id: int) -> Task:
        try:
            return self._label_studio().task(task_id)
        except NotFound:
            return {}


def _read_seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _find_row(rows: object, number: object) -> Task | None:
    """Return the row whose id is `number`, or None."""
    candidates = rows if isinstance(rows, list) else []
    return next((row for row in candidates if isinstance(row, Mapping) and row.get("id") == number), None)
