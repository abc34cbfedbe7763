"""Answers batches: what Label Studio asks for when it opens tasks, without anybody pointing at anything.

Every task gets one answer, in order, an empty prediction with score 0 where there is nothing: with any other number of
answers Label Studio drops the whole batch.

Label Studio sends as many tasks as the user selected in ONE request and gives up after 100 s: what it then drops it
asks for again from the start, and a batch of 1,500 images would never be answered. So after `seconds` the tasks that
are left, and those whose turn did not come, are answered with an empty list, which Label Studio takes for no
prediction, and the log says how many. Not with an empty prediction: that it would store as this version's, and never
ask for the task again. So whoever asks again gets the rest; what was encoded stays in the cache.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backend.errors import Busy, SamloopError
from backend.labelstudio.controls.results import POLYGON_TOLERANCE_PX
from backend.labelstudio.payloads import Prediction
from backend.refresh.protocol import OUT_OF_TIME
from backend.sam.automatic import AutomaticRules
from backend.sam.semantic.objects import SemanticRules
from backend.serving.answers import draw_prediction, empty_prediction
from backend.serving.batch_masks import BatchMasks
from backend.serving.machine import Machine
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage

log = logging.getLogger(__name__)
NOTHING_TO_GO_BY = "it has no rectangles, what is served has no semantic head, and SAMLOOP_AUTOMATIC is off"


class Observer(Protocol):
    """Hears of tasks that came out empty for a reason: metrics, in production."""

    def failed(self, reason: str) -> None:
        """A task of a batch was not looked at, or could not be."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What a batch answers for one task; `why` tells why the task was not looked at, None: it was."""

    prediction: Prediction
    why: str | None = None

    @property
    def is_late(self) -> bool:
        """Whether the task's turn did not come in time."""
        return self.why == OUT_OF_TIME

    def for_label_studio(self) -> Prediction | list[Prediction]:
        """The prediction; an empty list, which Label Studio stores nothing of, where the task's turn did not come."""
        return [] if self.is_late else self.prediction

    def with_reason(self) -> Prediction:
        """The prediction, with `why` in it where the task was not looked at: who stores predictions keeps those out."""
        return {**self.prediction, "why": self.why} if self.why else self.prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Answers batches. Safe for any number of threads.

    Attributes:
        machine: encodes and decodes.
        observer: hears of every task that came out empty for a reason.
        automatic: what to look for in tasks without rectangles, where there is no semantic head; None: nothing.
        semantic: what to keep of what a semantic head sees.
        seconds: after so many the rest of a batch is not looked at.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's (image px).
        specks_px: islands and holes of fewer pixels of the image are left out of masks.
        clock: tells the time by which deadlines are set, s.
    """

    machine: Machine
    observer: Observer
    automatic: AutomaticRules | None = None
    semantic: SemanticRules = field(default_factory=SemanticRules)
    seconds: float = 80.0
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX
    specks_px: int = 0
    clock: Callable[[], float] = time.monotonic

    def answer(
        self, images: Sequence[TaskImage], *, snapshot: Snapshot, began_s: float | None = None
    ) -> list[TaskAnswer]:
        """One answer a task, in their order. What goes wrong with a task costs that task alone.

        Args:
            images: the tasks of the batch.
            snapshot: what the project is served with.
            began_s: when somebody began to wait (by the clock); None: now.
        """
        masks = BatchMasks(
            machine=self.machine,
            snapshot=snapshot,
            automatic=self.automatic,
            semantic=self.semantic,
            until_s=(self.clock() if began_s is None else began_s) + self.seconds,
            clock=self.clock,
        )
        answers = [self._answer_task(image, masks) for image in images]
        if late := sum(answer.is_late for answer in answers):
            log.warning(
                "%d of %d tasks got no answer: the batch took over %.0f s (SAMLOOP_BATCH_SECONDS), or too many asked "
                "at once; Label Studio keeps no prediction of them: retrieve predictions again for the rest",
                late,
                len(answers),
                self.seconds,
                extra={"event": "batch.late", "tasks": late},
            )
        return answers

    def _answer_task(self, image: TaskImage, masks: BatchMasks) -> TaskAnswer:
        version = masks.snapshot.version
        if not masks.can_look_at(image):
            return TaskAnswer(empty_prediction(version), NOTHING_TO_GO_BY)  # and its image is not even fetched
        if self.clock() >= masks.until_s:
            return self._leave_out(OUT_OF_TIME, reason=OUT_OF_TIME, version=version)
        try:
            answer = TaskAnswer(
                draw_prediction(
                    masks.of(image),
                    model_version=version,
                    polygon_tolerance_px=self.polygon_tolerance_px,
                    specks_px=self.specks_px,
                )
            )
        except Busy:
            return self._leave_out(OUT_OF_TIME, reason=OUT_OF_TIME, version=version)
        except SamloopError as fault:
            log.warning("task %s gets no masks: %s", image.name, fault, extra={"event": "batch.task_failed"})
            return self._leave_out(str(fault)[:300], reason=type(fault).__name__, version=version)
        except Exception as fault:
            log.exception("task %s gets no masks", image.name, extra={"event": "batch.task_failed"})
            why = "a bug; the server's log has the traceback"
            return self._leave_out(why, reason=type(fault).__name__, version=version)
        if note := answer.prediction.get("note"):
            log.warning("task %s: %s", image.name, note, extra={"event": "batch.note"})
        return answer

    def _leave_out(self, why: str, *, reason: str, version: str) -> TaskAnswer:
        self.observer.failed(reason)
        return TaskAnswer(empty_prediction(version), why)
