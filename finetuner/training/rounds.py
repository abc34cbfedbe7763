"""One step's rounds: it simulates prompts, decodes them, back-propagates the losses, and may correct the prompts once.

Prompts are simulated round by round as in SAM's own training (Kirillov et al. 2023, appendix A, "Training algorithm"),
but with at most one corrective round instead of eight, and with a click on either kind of error (prompting.correct).
Every image draws from a generator of its own, so a step is the same in one part or in several, in one process or many.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.sam.family import Decoded
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import absent_prompts, correct, first_prompts, mask_prompts
from finetuner.data.sample import Sample
from finetuner.data.views import VIEWS, View
from finetuner.methods.base import Asked, Method
from finetuner.training.losses import iou_loss, mask_loss, presence_loss


@dataclass(frozen=True, slots=True)
class Learnt:
    """Sums over images: the losses of masks, of their IoUs and of object scores, and the number of decoded objects."""

    mask: float = 0.0
    iou: float = 0.0
    decodes: int = 0
    presence: float = 0.0

    def __add__(self, other: "Learnt") -> "Learnt":
        return Learnt(
            self.mask + other.mask,
            self.iou + other.iou,
            self.decodes + other.decodes,
            self.presence + other.presence,
        )

    def loss(self, *, iou_weight: float) -> float:
        """Add up what moves the weights.

        Args:
            iou_weight: of the loss of predicted IoUs (`TrainConfig.iou_weight`).

        Returns:
            At least 0; a sum over images, like its parts.
        """
        return self.mask + iou_weight * self.iou + self.presence


@dataclass(slots=True)
class _Lesson:
    """An image in its rounds: its next prompts, those of its objects first, and the number of rounds left."""

    sample: Sample
    embedding: Embedding
    rng: np.random.Generator
    objects: int
    covered: Float32[np.ndarray, "n rows cols"]
    target: Float[Tensor, "n rows cols"]
    prompts: tuple[Prompt, ...]
    previous: Float[Tensor, "n g g"] | None
    rounds: int
    left: int


class Rounds:
    """Back-propagates the losses of a step's images.

    Args:
        method: decodes the prompts.
        config: the recipe.
        embedding: returns a sample's embedding with the method's current weights.
    """

    def __init__(self, method: Method, *, config: TrainConfig, embedding: Callable[[Sample], Embedding]) -> None:
        self._method, self._config, self._embedding = method, config, embedding

    def learn(self, images: Sequence[tuple[Sample, np.random.Generator]], *, of: int) -> Learnt:
        """Add the gradients of these images' losses to the weights.

        One pass decodes the prompts of all images. Each round is back-propagated by itself, to save memory.

        Args:
            images: pairs of a sample and the generator for this visit.
            of: the number of images in the whole step; the loss of an image is divided by it.

        Returns:
            The losses, averaged over an image's rounds and summed over images, and the number of objects decoded.
        """
        lessons = [self._begin(sample, rng) for sample, rng in images]
        sums, decodes = [], 0
        while lessons:
            decoded = self._method.decode_several(
                [Asked(lesson.embedding, lesson.prompts, lesson.previous) for lesson in lessons]
            )
            losses = self._losses(lessons, decoded)
            torch.autograd.backward((losses @ losses.new_tensor((1.0, self._config.iou_weight, 1.0))).sum() / of)
            sums.append(losses.detach().sum(0))
            decodes += sum(lesson.objects for lesson in lessons)
            lessons = self._correct(lessons, decoded.logits[:, 0].detach())
        self._method.carry_back(of=of)
        # Read once a step: whoever reads from a device waits for it.
        mask, iou, presence = torch.stack(sums).sum(0).tolist()
        return Learnt(mask, iou, decodes, presence)

    def _begin(self, sample: Sample, rng: np.random.Generator) -> _Lesson:
        """Draw a view, objects, prompts and the number of rounds, in this order: the trained weights depend on it."""
        config, whole = self._config, sample
        if (views := config.views or 1) > 1:
            sample = sample.apply_view(VIEWS[rng.integers(views)])
        count = min(len(sample.objects), config.objects_per_step)
        objects = tuple(sample.objects[int(i)] for i in rng.choice(len(sample.objects), size=count, replace=False))
        embedding = self._embedding(sample)
        device = embedding.features.device
        prompts, previous = self._first(objects, rng=rng, device=device)
        rounds = 2 if rng.random() < config.corrective_share else 1
        covered = np.stack([grid_coverage(item, frame=self._method.frame) for item in objects])
        if previous is None:  # a mask to refine shows an object
            absent = self._draw_absent(whole, view=sample.view, objects=count, rng=rng)
            prompts = (*prompts, *absent)
            covered = np.pad(covered, [(0, len(absent)), (0, 0), (0, 0)])
        target = torch.from_numpy(covered).to(device)
        return _Lesson(sample, embedding, rng, count, covered, target, prompts, previous, rounds, rounds - 1)

    def _first(
        self, objects: tuple[LabelledMask, ...], *, rng: np.random.Generator, device: torch.device
    ) -> tuple[tuple[Prompt, ...], Float[Tensor, "n g g"] | None]:
        """The first prompts, and the logits of the masks that they refine, on the decoder's grid (None: no masks)."""
        config, frame = self._config, self._method.frame
        # Nothing is drawn at a share of 0: a recipe without masks reproduces the weights of earlier releases.
        if config.mask_share and rng.random() < config.mask_share:
            prompts, shown = mask_prompts(objects, config=config, frame=frame, rng=rng)
            return prompts, torch.from_numpy(shown).to(device)
        return first_prompts(objects, config=config, frame=frame, rng=rng), None

    def _draw_absent(self, sample: Sample, *, view: View, objects: int, rng: np.random.Generator) -> tuple[Prompt, ...]:
        """Prompts at which the image shows no object; none where nobody can know that, or no score would learn it."""
        config = self._config
        if not (self._method.scores_objects and config.teaches_absence and sample.is_complete):
            return ()
        clicks = int(np.floor(config.absent_share * objects + rng.random()))
        return absent_prompts(sample, view=view, count=clicks, rng=rng)

    def _losses(self, lessons: Sequence[_Lesson], decoded: Decoded) -> Float[Tensor, "images 3"]:
        """The losses of masks, IoUs and object scores of every image, on the cells that it reaches, over its rounds."""
        ends = np.cumsum([len(lesson.prompts) for lesson in lessons])
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for number, lesson in enumerate(lessons):
            lesson.target = lesson.target.to(decoded.logits.device)
            alike[lesson.target.shape[1:]].append(number)
        losses = decoded.logits.new_zeros(len(lessons), 3)
        for numbers in alike.values():
            # Images of one size in one go: on a GPU every operation costs as much to start as it takes.
            some = [lessons[number] for number in numbers]
            own = _of_images(decoded, [slice(ends[n] - len(lessons[n].prompts), ends[n]) for n in numbers])
            target = torch.cat([lesson.target for lesson in some])
            made = decode_losses(own, target, prompts=[lesson.prompts for lesson in some], config=self._config)
            rounds = made.new_tensor([lesson.rounds for lesson in some])[:, None]
            losses = losses.index_copy(0, torch.tensor(numbers, device=losses.device), made / rounds)
        return losses

    def _correct(self, lessons: Sequence[_Lesson], singles: Float[Tensor, "n g g"]) -> list[_Lesson]:
        """Add a click where the mask is wrong; at times the decoder sees the mask too (`feedback_share`).

        Args:
            lessons: of the round.
            singles: the logits of their single masks, in their order.

        Returns:
            The lessons with a further round.
        """
        if not any(lesson.left for lesson in lessons):
            return []
        above = (singles > 0).cpu().numpy()
        first, going_on = 0, []
        for lesson in lessons:
            own = slice(first, first + len(lesson.prompts))
            first = own.stop
            if lesson.left:
                going_on.append(self._correct_one(lesson, above[own], single=singles[own]))
        return going_on

    def _correct_one(
        self, lesson: _Lesson, above: Bool[np.ndarray, "n g g"], *, single: Float[Tensor, "n g g"]
    ) -> _Lesson:
        sample, truth, rng = lesson.sample, lesson.covered > 0.5, lesson.rng
        predicted = above[:, : truth.shape[1], : truth.shape[2]]
        image = {"height_px": sample.height_px, "width_px": sample.width_px}
        lesson.prompts = tuple(
            correct(prompt, predicted=predicted[i], truth=truth[i], frame=self._method.frame, rng=rng, **image)
            for i, prompt in enumerate(lesson.prompts)
        )
        lesson.previous = single if rng.random() < self._config.feedback_share else None
        lesson.left -= 1
        return lesson


def _of_images(decoded: Decoded, rows: Sequence[slice]) -> Decoded:
    """What was decoded in these rows; all of it is not copied."""
    if sum(part.stop - part.start for part in rows) == len(decoded.ious):
        return decoded
    return Decoded.of(torch.cat([values[part] for part in rows]) for values in decoded.tensors)


def _is_ambiguous(prompt: Prompt) -> bool:
    """Whether the prompt is a single click, which may mean a part, the object or a group.

    For such a prompt SAM trains three masks, and only the loss of the best counts (Kirillov et al. 2023, section 3,
    "Resolving ambiguity").
    """
    return prompt.box is None and len(prompt.clicks) == 1


def decode_losses(
    decoded: Decoded,
    target: Float[Tensor, "n rows cols"],
    *,
    prompts: Sequence[Sequence[Prompt]],
    config: TrainConfig,
) -> Float[Tensor, "images 3"]:
    """The mask loss, the score loss and the loss of object scores of one decode of images of one size.

    The single mask learns from every prompt. From an ambiguous prompt (`_is_ambiguous`) the best of the three masks
    learns too. All four scores learn, except from an object that covers no cell by at least half: on this grid its true
    mask is empty. From a prompt without an object only the object score learns, as in the publishers' code ("backprop
    focal, dice and iou loss only if obj present", `training/loss_fns.py` of sam2).

    Args:
        decoded: n answers, on the whole grid.
        target: (n, rows, columns), the share of a cell that the object covers, in [0, 1]; of the cells that the images
            reach, and no other learns.
        prompts: every image's, one per row of `target`; n together.
        config: names the `losses`.

    Returns:
        (images, 3), at least 0: means over an image's objects, for object scores over all its prompts; 0 for object
        scores in a family that has none. Their gradients reach what was decoded.
    """
    logits, device = decoded.logits[..., : target.shape[1], : target.shape[2]], target.device
    flat = [prompt for own in prompts for prompt in own]
    ambiguous = [row for row, prompt in enumerate(flat) if _is_ambiguous(prompt)]
    image_of = torch.tensor([image for image, own in enumerate(prompts) for _ in own], device=device)
    masks = torch.tensor([1 + _is_ambiguous(prompt) for prompt in flat], device=device)

    def add_up(values: Float[Tensor, " n"]) -> Float[Tensor, " images"]:
        return values.new_zeros(len(prompts)).index_add(0, image_of, values)

    mask = mask_loss(logits[:, :1], target, losses=config.losses)[:, 0]
    if ambiguous:
        rows = torch.tensor(ambiguous, device=device)
        best = mask_loss(logits[rows, 1:], target[rows], losses=config.losses).amin(1)
        mask = mask.index_add(0, rows, best)
    present = (target > 0).flatten(1).any(1).to(mask.dtype)
    there = (target > 0.5).flatten(1).any(1).to(mask.dtype)
    score = iou_loss(decoded.ious, logits.detach(), target).mean(1) * there
    seen = torch.zeros_like(mask) if decoded.object_scores is None else presence_loss(decoded.object_scores, target)
    return torch.stack(
        [
            add_up(mask * present) / add_up(masks * present).clamp(min=1),
            add_up(score) / add_up(there).clamp(min=1),
            add_up(seen) / add_up(torch.ones_like(seen)),
        ],
        dim=1,
    )
