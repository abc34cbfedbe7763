"""Tasks in, predictions out, without anybody pointing at anything: what Label Studio asks for when it opens tasks.

Rectangles that stand on a task become masks under their labels. A task without gets the objects that the project's
semantic head finds, where its version has one; else all that stands out in its image, where that is switched on. Every
task gets one answer, in order, an empty prediction with score 0 where there is nothing: with any other number of
answers Label Studio drops the whole batch.

Label Studio sends as many tasks as the user selected in ONE request and gives up after 100 s: what it then drops it
asks for again from the start, and a batch of 1,500 images would never be answered. So after `seconds` the tasks that
are left, and those whose turn did not come, are answered with an empty list, which Label Studio takes for no
prediction, and the log says how many. Not with an empty prediction: that it would store as this version's, and never
ask for the task again. So whoever asks again gets the rest; what was encoded stays in the cache.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from backend.errors import Busy, SamloopError
from backend.images.source import ImageSource
from backend.labelstudio.controls.choice import Output, label_on, output_control, output_of, semantic_output
from backend.labelstudio.controls.results import POLYGON_TOLERANCE_PX, prediction, regions_of_mask
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.rectangles import has_rectangles, rectangles_of_task
from backend.refresh.protocol import OUT_OF_TIME
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.predictor import Embedding, PredictedMask
from backend.sam.scoring import task_score
from backend.sam.semantic.head import SemanticHead
from backend.sam.semantic.objects import SemanticRules, semantic_maps, semantic_masks
from backend.sam.semantic.touching import asked
from backend.serving.slot import Snapshot

log = logging.getLogger(__name__)
T = TypeVar("T")
NOTHING_TO_GO_BY = "it has no rectangles, what is served has no semantic head, and SAMLOOP_AUTOMATIC is off"


class Machine(Protocol):
    """Where a batch's images are encoded and its prompts decoded, behind those that annotators wait for."""

    def embedding(
        self, task: Mapping[str, Any], *, config: LabelConfig, images: ImageSource, snapshot: Snapshot, until_s: float
    ) -> Embedding:
        """The embedding of a task's image, as the snapshot's encoder sees it."""

    def decode(self, work: Callable[[], T], *, until_s: float) -> T:
        """What the work returns."""


class Observer(Protocol):
    """Who listens: metrics, in production."""

    def failed(self, reason: str) -> None:
        """A task of a batch was not looked at, or could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preannotation:
    """Answers batches. Safe for any number of threads.

    Attributes:
        machine: encodes and decodes.
        observer: hears of every task that came out empty for a reason.
        automatic: what to look for in tasks without rectangles, where there is no semantic head; None: nothing.
        semantic: what to keep of what a semantic head finds.
        seconds: after so many the rest of a batch is not looked at.
        polygon_tolerance_px: how far a polygon's outline may be from its mask's.
    """

    machine: Machine
    observer: Observer
    automatic: AutomaticRules | None = None
    semantic: SemanticRules = field(default_factory=SemanticRules)
    seconds: float = 80.0
    polygon_tolerance_px: float = POLYGON_TOLERANCE_PX

    def predict(  # noqa: PLR0913 - all by name
        self,
        tasks: Sequence[Mapping[str, Any]],
        *,
        config: LabelConfig | None,
        images: ImageSource,
        snapshot: Snapshot,
        tells_why: bool = False,
        began_s: float | None = None,
    ) -> list[Any]:
        """One prediction a task, in their order, [] for those out of time. What goes wrong with a task costs it alone.

        Without a labelling config nothing tells where the image is, and every prediction is empty. With `tells_why` all
        are predictions, and one that is empty because nothing was looked for says so in `why`: who stores predictions
        keeps those out. `began_s` (monotonic) is when somebody began to wait; absent: now.
        """
        if config is None:
            return [prediction([], model_version=snapshot.version, score=0.0) for _ in tasks]
        until_s = (time.monotonic() if began_s is None else began_s) + self.seconds
        batch = _Batch(self, config, images, snapshot, until_s=until_s)
        answers = [batch.answer(task) for task in tasks]
        if late := batch.whys.count(OUT_OF_TIME):
            log.warning(
                "%d of %d tasks got no answer: the batch took over %.0f s (SAMLOOP_BATCH_SECONDS), or too many asked "
                "at once; Label Studio keeps no prediction of them: retrieve predictions again for the rest",
                late,
                len(tasks),
                self.seconds,
                extra={"event": "batch.late", "tasks": late},
            )
        told = zip(answers, batch.whys, strict=True)
        if tells_why:
            return [{**each, "why": why} if why else each for each, why in told]
        return [[] if why == OUT_OF_TIME else each for each, why in told]


@dataclass(slots=True)
class _Batch:
    """One request: its deadline, and why tasks of it were not looked at; None for those that were."""

    rules: Preannotation
    config: LabelConfig
    images: ImageSource
    snapshot: Snapshot
    until_s: float = field(kw_only=True)
    whys: list[str | None] = field(default_factory=list, kw_only=True)

    def answer(self, task: Mapping[str, Any]) -> dict[str, Any]:
        self.whys.append(None)
        regions: list[dict[str, Any]] = []
        scores: list[float] = []
        for output, mask in self._masks_or_none(task):
            drawn = regions_of_mask(
                mask.mask,
                control=output.control,
                label=output.label,
                score=mask.score,
                model_version=self.snapshot.version,
                polygon_tolerance_px=self.rules.polygon_tolerance_px,
            )
            regions += drawn
            scores += [mask.score] if drawn else []
        return prediction(regions, model_version=self.snapshot.version, score=task_score(scores))

    def _masks_or_none(self, task: Mapping[str, Any]) -> Sequence[tuple[Output, PredictedMask]]:
        boxed = has_rectangles(task, model_version=self.snapshot.version)
        if not boxed and self.rules.automatic is None and self.snapshot.predictor.semantic is None:
            self.whys[-1] = NOTHING_TO_GO_BY
            return ()  # and its image is not even fetched
        if time.monotonic() >= self.until_s:
            return self._out_of_time()
        task_id = str(task.get("id"))[:40]
        try:
            return self._from_rectangles(task) if boxed else self._from_nothing(task)
        except Busy:
            return self._out_of_time()
        except SamloopError as fault:
            self.whys[-1] = str(fault)[:300]
            self.rules.observer.failed(type(fault).__name__)
            log.warning("task %s gets no masks: %s", task_id, fault, extra={"event": "batch.task_failed"})
        except Exception as fault:
            self.whys[-1] = "a bug; the server's log has the traceback"
            self.rules.observer.failed(type(fault).__name__)
            log.exception("task %s gets no masks", task_id, extra={"event": "batch.task_failed"})
        return ()

    def _out_of_time(self) -> tuple[()]:
        self.whys[-1] = OUT_OF_TIME
        self.rules.observer.failed(OUT_OF_TIME)
        return ()

    def _from_rectangles(self, task: Mapping[str, Any]) -> Sequence[tuple[Output, PredictedMask]]:
        embedding = self._embedding(task)
        prompts = rectangles_of_task(
            task,
            height_px=embedding.height_px,
            width_px=embedding.width_px,
            config=self.config,
            model_version=self.snapshot.version,
        )
        outputs = [output_of(each, self.config) for each in prompts]
        masks = self.rules.machine.decode(
            lambda: self.snapshot.predictor.decode(embedding, [each.prompt for each in prompts]), until_s=self.until_s
        )
        return list(zip(outputs, masks, strict=True))

    def _from_nothing(self, task: Mapping[str, Any]) -> Sequence[tuple[Output, PredictedMask]]:
        if (head := self.snapshot.predictor.semantic) is not None:
            return self._from_semantic(task, head)
        if self.rules.automatic is None:
            return ()
        control = output_control(self.config, label=None)
        label = control.labels[0] if control.labels else None
        output = Output(control, label_on(control, label))
        masks = automatic_masks(
            self.snapshot.predictor,
            self._embedding(task),
            rules=self.rules.automatic,
            until_s=self.until_s,
            run=lambda work: self.rules.machine.decode(work, until_s=self.until_s),
        )
        return [(output, mask) for mask in masks]

    def _from_semantic(self, task: Mapping[str, Any], head: SemanticHead) -> Sequence[tuple[Output, PredictedMask]]:
        embedding, base = self._embedding(task), self.snapshot.predictor.base
        maps = self.rules.machine.decode(lambda: semantic_maps(head, embedding, base=base), until_s=self.until_s)
        size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
        ask = asked(
            self.snapshot.predictor, embedding, run=lambda work: self.rules.machine.decode(work, until_s=self.until_s)
        )
        found = semantic_masks(maps, rules=self.rules.semantic, ask=ask, **size)
        return [
            (output, mask) for label, mask in found if (output := semantic_output(self.config, label=label)) is not None
        ]

    def _embedding(self, task: Mapping[str, Any]) -> Embedding:
        return self.rules.machine.embedding(
            task, config=self.config, images=self.images, snapshot=self.snapshot, until_s=self.until_s
        )
