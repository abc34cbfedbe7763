"""Which masks a task gets without anybody pointing at anything.

Rectangles that stand on a task become masks under their labels. A task without gets the objects that the project's
semantic head sees, where its version has one; else all that stands out in its image, where that is switched on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backend.labelstudio.controls.choice import Output, label_on, output_control, output_of, semantic_output
from backend.labelstudio.prompts.rectangles import has_rectangles, rectangles_of_task
from backend.sam.automatic import AutomaticRules, automatic_masks
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead
from backend.sam.semantic.objects import SemanticRules, semantic_maps, semantic_masks
from backend.sam.semantic.touching import asked
from backend.serving.answers import PlacedMask
from backend.serving.machine import Machine
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMasks:
    """Computes the masks of a batch's tasks, behind those that annotators wait for.

    Attributes:
        machine: encodes and decodes.
        snapshot: what the project is served with.
        automatic: what to look for in tasks without rectangles, where there is no semantic head; None: nothing.
        semantic: what to keep of what a semantic head sees.
        until_s: when nobody waits for the batch any more (monotonic).
    """

    machine: Machine
    snapshot: Snapshot
    automatic: AutomaticRules | None
    semantic: SemanticRules
    until_s: float

    def can_look_at(self, image: TaskImage) -> bool:
        """Whether anything tells what to look for; without fetching the image."""
        return self._is_boxed(image) or self.snapshot.predictor.semantic is not None or self.automatic is not None

    def of(self, image: TaskImage) -> list[PlacedMask]:
        """The task's masks over its upright image, with the control and label of every mask.

        Raises:
            BadInput, Upstream: the task or its image cannot be used, or the image cannot be had.
            Busy: it was not this task's turn by `until_s`.
        """
        if self._is_boxed(image):
            return self._from_rectangles(image)
        if (head := self.snapshot.predictor.semantic) is not None:
            return self._from_semantic(image, head)
        return [] if self.automatic is None else self._from_nothing(image, self.automatic)

    def _is_boxed(self, image: TaskImage) -> bool:
        return has_rectangles(image.task, model_version=self.snapshot.version)

    def _from_rectangles(self, image: TaskImage) -> list[PlacedMask]:
        embedding = self._embed(image)
        prompts = rectangles_of_task(
            image.task,
            height_px=embedding.height_px,
            width_px=embedding.width_px,
            config=image.config,
            model_version=self.snapshot.version,
        )
        outputs = [output_of(prompt, image.config) for prompt in prompts]
        boxes = [prompt.prompt for prompt in prompts]
        masks = self._decode(lambda: self.snapshot.predictor.decode(embedding, boxes))
        return [PlacedMask(output, mask) for output, mask in zip(outputs, masks, strict=True)]

    def _from_semantic(self, image: TaskImage, head: SemanticHead) -> list[PlacedMask]:
        embedding, predictor = self._embed(image), self.snapshot.predictor
        maps = self._decode(lambda: semantic_maps(head, embedding, base=predictor.base))
        objects = semantic_masks(
            maps,
            rules=self.semantic,
            ask=asked(predictor, embedding, run=self._decode),
            height_px=embedding.height_px,
            width_px=embedding.width_px,
        )
        return [
            PlacedMask(output, mask)
            for label, mask in objects
            if (output := semantic_output(image.config, label=label)) is not None
        ]

    def _from_nothing(self, image: TaskImage, rules: AutomaticRules) -> list[PlacedMask]:
        control = output_control(image.config, label=None)
        label = control.labels[0] if control.labels else None
        output = Output(control, label_on(control, label))
        masks = automatic_masks(
            self.snapshot.predictor, self._embed(image), rules=rules, until_s=self.until_s, run=self._decode
        )
        return [PlacedMask(output, mask) for mask in masks]

    def _embed(self, image: TaskImage) -> Embedding:
        return self.machine.embed(image, snapshot=self.snapshot, priority=Priority.BATCH, until_s=self.until_s)

    def _decode(self, work: Callable[[], T]) -> T:
        return self.machine.decode(work, priority=Priority.BATCH, until_s=self.until_s)
