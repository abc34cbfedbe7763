"""Computes the masks of a task that nobody prompts.

Rectangles on the task become masks with their labels. A task without rectangles gets the objects that the semantic head
of the project's version finds; without a semantic head, it gets automatic masks, if the settings ask for them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat, takewhile
from typing import TypeVar

from backend.errors import BadInput, Busy, SamloopError
from backend.labelstudio.controls.choice import Output, output_control, output_of, semantic_output
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.rectangles import MOST_RECTANGLES, has_rectangles, rectangles_of_task
from backend.labelstudio.prompts.request import LabelledPrompt
from backend.masks.crop import Crop
from backend.sam.automatic import AutomaticRules, automatic_candidates
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead
from backend.sam.semantic.objects import SemanticRules, iterate_semantic_masks, semantic_maps
from backend.sam.semantic.touching import draw_with
from backend.serving.answers import PlacedMask
from backend.serving.machine import Machine
from backend.serving.portions import decode_by_portions, decode_closer, most_masks
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

T = TypeVar("T")
_TOO_MANY = (
    f"samloop: the task has over {MOST_RECTANGLES} rectangles, and only the first {MOST_RECTANGLES} have masks; cut "
    "the image into several, or delete rectangles that have masks and ask again"
)


@dataclass(slots=True)
class TaskMasks:
    """The masks of one task, image by image, with their controls and labels. Iterate over it once.

    Every mask is computed on demand, so only a few are in memory at a time. If one of several images
    fails, only its own masks are missing.

    Iterating raises:
        BadInput: the task or its image is unusable, or there are more rectangles than can be drawn in time.
        Upstream: the image cannot be fetched.
        Busy: the task's turn did not come in time.

    Attributes:
        faults: the faults of images that failed, with their number in the task, from 1 on.
        images: how many images the task has.
    """

    _of_part: Callable[[TaskImage], Iterator[PlacedMask]]
    _parts: Sequence[TaskImage]
    faults: list[tuple[int, SamloopError]] = field(default_factory=list)

    @property
    def images(self) -> int:
        """As in the class's description."""
        return len(self._parts)

    def __iter__(self) -> Iterator[PlacedMask]:
        for number, part in enumerate(self._parts, start=1):
            try:
                yield from self._of_part(part)
            except Busy:
                raise
            except SamloopError as fault:
                self.faults.append((number, fault))
                if len(self.faults) == len(self._parts):
                    raise self.faults[0][1] from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMasks:
    """Computes the masks of a batch's tasks; annotators' clicks go first.

    Attributes:
        machine: encodes and decodes.
        snapshot: the version that serves the project.
        automatic: rules for automatic masks, where there are no rectangles and no semantic head; None: no such masks.
        semantic: rules for the semantic head's objects.
        until_s: the time on `clock` when nobody waits for the batch any more.
        clock: returns the time, s.
    """

    machine: Machine
    snapshot: Snapshot
    automatic: AutomaticRules | None
    semantic: SemanticRules
    until_s: float
    clock: Callable[[], float] = time.monotonic

    def can_look_at(self, image: TaskImage) -> bool:
        """Whether the task can get masks at all. Does not fetch the image."""
        return (
            any(self._is_boxed(part) for part in image.parts())
            or self.snapshot.predictor.semantic is not None
            or self.automatic is not None
        )

    def of(self, image: TaskImage) -> TaskMasks:
        """Return the masks of the task's upright images. Nothing is computed before they are iterated."""
        return TaskMasks(self._of_part, image.parts())

    def _of_part(self, image: TaskImage) -> Iterator[PlacedMask]:
        if self._is_boxed(image):
            return self._from_rectangles(image)
        if (head := self.snapshot.predictor.semantic) is not None:
            return self._in_time(self._from_semantic(image, head))
        return iter(()) if self.automatic is None else self._from_nothing(image, self.automatic)

    def _in_time(self, placed: Iterator[PlacedMask]) -> Iterator[PlacedMask]:
        for place in placed:
            if self.clock() >= self.until_s:
                raise Busy("the batch's time is over: request this task again")
            yield place

    def _is_boxed(self, image: TaskImage) -> bool:
        return has_rectangles(image.task, model_version=self.snapshot.version)

    def _from_rectangles(self, image: TaskImage) -> Iterator[PlacedMask]:
        predictor, embedding = self.snapshot.predictor.suit(self._embed(image))
        prompts = rectangles_of_task(
            image.task,
            height_px=embedding.height_px,
            width_px=embedding.width_px,
            config=image.config,
            model_version=self.snapshot.version,
            most=MOST_RECTANGLES + 1,
        )
        note = _TOO_MANY if len(prompts) > MOST_RECTANGLES else None
        prompts = tuple(prompt for prompt in prompts[:MOST_RECTANGLES] if _can_label(prompt, image.config))
        outputs = [output_of(prompt, image.config) for prompt in prompts]
        decode = decode_closer(
            lambda part, some: self._decode(lambda: predictor.decode_whole(part, some)),
            predictor,
            encode_crop=lambda crop: self._embed(image, crop),
        )
        masks = decode_by_portions(embedding, [prompt.prompt for prompt in prompts], decode=decode)
        notes = chain([note], repeat(None))
        return (PlacedMask(output, mask, note=told) for output, mask, told in zip(outputs, masks, notes, strict=False))

    def _from_semantic(self, image: TaskImage, head: SemanticHead) -> Iterator[PlacedMask]:
        seen, predictor = self._embed(image), self.snapshot.predictor
        maps = self._decode(lambda: semantic_maps(head, seen, base=predictor.base))
        suited, embedding = predictor.suit(seen)
        objects = iterate_semantic_masks(
            maps,
            rules=replace(self.semantic, most=min(self.semantic.most, most_masks(embedding))),
            ask=draw_with(suited, embedding, run=self._decode),
            height_px=embedding.height_px,
            width_px=embedding.width_px,
        )
        return (
            PlacedMask(output, mask)
            for label, mask in objects
            if (output := semantic_output(image.config, label=label)) is not None
        )

    def _from_nothing(self, image: TaskImage, rules: AutomaticRules) -> Iterator[PlacedMask]:
        output = _only_output(image.config)
        predictor, embedding = self.snapshot.predictor.suit(self._embed(image))
        rules = replace(rules, most=min(rules.most, most_masks(embedding)))
        candidates = automatic_candidates(predictor, embedding, rules=rules, until_s=self.until_s, run=self._decode)
        # The clearest masks come first, so the rest may be left out.
        in_time = takewhile(lambda _: self.clock() < self.until_s, candidates)
        return (PlacedMask(output, predictor.mask_of(candidate, embedding)) for candidate in in_time)

    def _embed(self, image: TaskImage, crop: Crop | None = None) -> Embedding:
        return self.machine.embed(
            image, snapshot=self.snapshot, priority=Priority.BATCH, until_s=self.until_s, crop=crop
        )

    def _decode(self, work: Callable[[], T]) -> T:
        return self.machine.decode(work, priority=Priority.BATCH, until_s=self.until_s)


def _only_output(config: LabelConfig) -> Output:
    """The control and label of an automatic mask: the control's only label, or none.

    Raises:
        BadInput: no control takes masks; or the control has several labels or none, or the tasks name labels too, so
            that a guess would mostly be wrong, and Label Studio's editor does not show its regions without a label.
    """
    control = output_control(config, label=None)
    label = control.labels[0] if len(control.labels) == 1 and not control.takes_any_label else None
    if control.has_labels and label is None:
        offered = "takes its labels from the tasks" if control.takes_any_label else f"has {len(control.labels)}"
        raise BadInput(
            f"automatic masks need a label, and the interface {offered}: train the project with the semantic head, "
            "which finds objects by label, or add a <Brush> tag without labels"
        )
    return Output(control, label)


def _can_label(prompt: LabelledPrompt, config: LabelConfig) -> bool:
    """Whether a rectangle's mask has a label or needs none. A label is never guessed."""
    control = output_of(prompt, config).control
    if not control.has_labels or control.label_for(prompt.label) is not None:
        return True
    # Without any label, the editor would not show the region.
    return len(control.labels) == 1 if control.labels else prompt.label is not None
