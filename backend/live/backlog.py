"""Submitted annotations that are still to be compared with the masks they began with, one fetch a time.

Any number of processes share a project's backlog. Whoever was told of an annotation compares it; what a process has
left behind, another adopts after a while.
"""

import logging
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
_PATIENCE_S = 10.0  # a webhook may come before what it tells of can be read
_MOST_FAILURES = 2  # of a project's annotations in a row; a Label Studio that is away is asked no more


class Tasks(Protocol):
    """The part of Label Studio's client that is needed."""

    def task(self, task_id: int) -> Task:
        """One task with its annotations and predictions."""


class Backlog:
    """What waits in one project.

    Args:
        ledger: where it stands, and where comparisons are written down.
        sent: what clicks were answered in this project.
        label_studio: the project's Label Studio; raises Unavailable where it is not known.
        max_pixels: larger images are not compared.
        process: the name of this process in the ledger.
        adopt_after_s: when what another process should have compared is taken over, s.
        counts: `compared` and `unknown` masks and `failed` annotations are counted here.
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
    ) -> None:
        self._ledger, self._sent, self._label_studio = ledger, sent, label_studio
        self._max_pixels, self._process, self._adopt_after_s = max_pixels, process, adopt_after_s
        self._counts = counts
        self._failed: set[int] = set()  # annotations that could not be compared at the last try

    def compare(self, *, is_stopping: Callable[[], bool]) -> int:
        """Compare what waits, until it is all done or somebody stops us; how many annotations still wait.

        Raises:
            SamloopError: Label Studio cannot be asked; what was not compared waits on.
            OSError: the disk takes nothing.
        """
        waiting, left = self._ledger.pending(), 0
        faults: list[SamloopError] = []
        # Last, those that failed before: a task that Label Studio cannot show must not keep all others waiting.
        failed = self._failed & waiting.keys()
        for annotation_id in sorted(waiting, key=failed.__contains__):
            if is_stopping() or len(faults) == _MOST_FAILURES:
                break
            seen = waiting[annotation_id]
            try:
                left += not self._is_ours(seen) or not self._settle(seen)
            except SamloopError as fault:
                failed.add(annotation_id)
                faults.append(fault)
        self._failed = failed
        if faults:
            raise faults[0]
        self._ledger.compact()
        return left

    def _is_ours(self, seen: Seen) -> bool:
        return seen.process == self._process or time.time() - seen.seen_s >= self._adopt_after_s

    def _settle(self, seen: Seen) -> bool:
        """Compare one annotation; False where Label Studio does not show yet what its webhook told of."""
        try:
            line = self._line_for(seen)
            if line is None:
                return False
            self._ledger.append(line)
        except (SamloopError, OSError):
            raise
        except Exception:
            # It would fail again: once is enough for the log, and those behind it have their turn.
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
        # What a click made of a predicted mask was given later than the prediction, under the same id.
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
    """The row whose id is `number`."""
    candidates = rows if isinstance(rows, list) else []
    return next((row for row in candidates if isinstance(row, Mapping) and row.get("id") == number), None)
