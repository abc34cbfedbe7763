"""Answers batches: requests for tasks that nobody has prompted.

Every task gets exactly one answer, in order; a task without objects gets an empty prediction of score 0. With any other
number of answers, Label Studio drops the whole batch.

Label Studio sends all tasks that the user selected in ONE request, and gives up after 100 s. It would then request the
same batch from the start again, and 1,500 images would never be answered. So after `seconds`, every remaining task is
answered with an empty list. Label Studio stores nothing for an empty list, and a further request gets the rest; the
embeddings made so far stay in the cache. An empty prediction would not do: Label Studio would store it as this
version's, and never request the task again.
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
from backend.serving.answers import add_note, draw_prediction, empty_prediction
from backend.serving.batch_masks import BatchMasks, TaskMasks
from backend.serving.machine import Machine
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage

log = logging.getLogger(__name__)
NOTHING_TO_GO_BY = "no rectangle is on the task, the served version has no semantic head, and SAMLOOP_AUTOMATIC is off"
_LONGEST_REASON, _MOST_REASONS = 300, 3


class Observer(Protocol):
    """Hears of batches, and of tasks and images without masks with the reason; in production, the metrics."""

    def count_batch(self, *, images: int, seconds: float) -> None:
        """Hear that a batch was answered, how many images have an answer, and how many seconds it took."""

    def count_failure(self, reason: str) -> None:
        """Hear that a task of a batch, or one of its images, got no masks, and why."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """A batch's answer for one task; `why` says why the task was not looked at, None if it was."""

    prediction: Prediction
    why: str | None = None

    @property
    def is_late(self) -> bool:
        """Whether the task's turn did not come in time."""
        return self.why == OUT_OF_TIME

    def for_label_studio(self) -> Prediction | list[Prediction]:
        """Return the prediction; or, for a late task, an empty list, for which Label Studio stores nothing."""
        return [] if self.is_late else self.prediction

    def with_reason(self) -> Prediction:
        """Return the prediction, with `why` in it if there is a reason; such a prediction must not be stored."""
        return {**self.prediction, "why": self.why} if self.why else self.prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Answers batches. Safe for any number of threads.

    Attributes:
        machine: encodes and decodes.
        observer: hears of every task without masks, and of the reason.
        automatic: rules for automatic masks, where there are no rectangles and no semantic head; None: no such masks.
        semantic: rules for the semantic head's objects.
        seconds: how long a batch may take; the tasks that remain then are not looked at.
        polygon_tolerance_px: how far a polygon's outline may be from the mask's, image px.
        specks_px: islands and holes smaller than this area, in image px, are left out of masks.
        clock: returns the time by which deadlines are set, s.
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
        """Return one answer per task, in order. An error costs only the task, or a task's image, in which it occurs.

        Args:
            images: the tasks of the batch.
            snapshot: the version that serves the project.
            began_s: the time on `clock` when the caller began to wait; None: now.
        """
        began_s = self.clock() if began_s is None else began_s
        masks = BatchMasks(
            machine=self.machine,
            snapshot=snapshot,
            automatic=self.automatic,
            semantic=self.semantic,
            until_s=began_s + self.seconds,
            clock=self.clock,
        )
        answers = [self._answer_task(image, masks) for image in images]
        answered = sum(len(image.parts()) for image, answer in zip(images, answers, strict=True) if not answer.why)
        self.observer.count_batch(images=answered, seconds=self.clock() - began_s)
        if late := sum(answer.is_late for answer in answers):
            log.warning(
                "%d of %d tasks got no answer: the batch took over %.0f s (SAMLOOP_BATCH_SECONDS), or the server was "
                "busy; Label Studio stores nothing for them: retrieve predictions again for the rest",
                late,
                len(answers),
                self.seconds,
                extra={"event": "batch.late", "tasks": late},
            )
        return answers

    def _answer_task(self, image: TaskImage, masks: BatchMasks) -> TaskAnswer:
        version = masks.snapshot.version
        if not masks.can_look_at(image):
            return TaskAnswer(empty_prediction(version), NOTHING_TO_GO_BY)  # without fetching its image
        if self.clock() >= masks.until_s:
            return self._leave_out(OUT_OF_TIME, reason=OUT_OF_TIME, version=version)
        try:
            answer = self._draw(masks.of(image), version=version)
        except Busy:
            return self._leave_out(OUT_OF_TIME, reason=OUT_OF_TIME, version=version)
        except SamloopError as fault:
            log.warning("task %s gets no masks: %s", image.name, fault, extra={"event": "batch.task_failed"})
            return self._leave_out(str(fault)[:_LONGEST_REASON], reason=type(fault).__name__, version=version)
        except Exception as fault:
            log.exception("task %s gets no masks", image.name, extra={"event": "batch.task_failed"})
            why = "a bug; the server's log has the traceback"
            return self._leave_out(why, reason=type(fault).__name__, version=version)
        if note := answer.prediction.get("note"):
            log.warning("task %s: %s", image.name, note, extra={"event": "batch.note"})
        return answer

    def _draw(self, masks: TaskMasks, *, version: str) -> TaskAnswer:
        """Draw the masks of a task, and say which of its images failed, and why."""
        drawn = draw_prediction(
            masks,
            model_version=version,
            polygon_tolerance_px=self.polygon_tolerance_px,
            specks_px=self.specks_px,
        )
        if not masks.faults:
            return TaskAnswer(drawn)
        for _, fault in masks.faults:
            self.observer.count_failure(type(fault).__name__)
        why = "; ".join(
            f"image {number} of {masks.images} has no masks: {str(fault)[:_LONGEST_REASON]}"
            for number, fault in masks.faults[:_MOST_REASONS]
        )
        # Without any region there is nothing to store: the next request then looks at the images again.
        return TaskAnswer(add_note(drawn, f"samloop: {why}")) if drawn["result"] else TaskAnswer(drawn, why)

    def _leave_out(self, why: str, *, reason: str, version: str) -> TaskAnswer:
        self.observer.count_failure(reason)
        return TaskAnswer(empty_prediction(version), why)
