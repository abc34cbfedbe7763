"""What one step asks of its images, and what it learns from the answers: prompts, at times a corrective round, losses.

Prompts are simulated round after round as SAM's own training does it (Kirillov et al. 2023, appendix A, "Training
algorithm"), with at most one corrective round instead of eight, and a click on either kind of error
(prompting.corrected). All that is drawn for an image comes from a generator of its own: the same whether its step is
done in one part or in several, in one process or in many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import correct, first_prompts, mask_prompts
from finetuner.data.sample import Sample
from finetuner.data.views import VIEWS
from finetuner.methods.base import Asked, Method
from finetuner.training.losses import iou_loss, mask_loss


@dataclass(frozen=True, slots=True)
class Learnt:
    """Sums over images: of the masks' loss, of the scores', and how many object-prompts were decoded."""

    mask: float = 0.0
    iou: float = 0.0
    decodes: int = 0

    def __add__(self, other: "Learnt") -> "Learnt":
        return Learnt(self.mask + other.mask, self.iou + other.iou, self.decodes + other.decodes)


@dataclass(slots=True)
class _Lesson:
    """One image under way: what is asked of it next, and how many rounds are left."""

    sample: Sample
    embedding: Embedding
    rng: np.random.Generator
    target: Float[Tensor, "n rows cols"]
    prompts: tuple[Prompt, ...]
    previous: Float[Tensor, "n g g"] | None
    rounds: int
    left: int


class Rounds:
    """Back-propagates what images teach.

    Args:
        method: decodes.
        config: the recipe.
        embedding: of a sample, as the method sees it.
    """

    def __init__(self, method: Method, *, config: TrainConfig, embedding: Callable[[Sample], Embedding]) -> None:
        self._method, self._config, self._embedding = method, config, embedding

    def learn(self, images: Sequence[tuple[Sample, np.random.Generator]], *, of: int) -> Learnt:
        """Leave the gradients of these images' loss on the weights.

        The prompts of all images are decoded at once; every round is back-propagated at once, to keep memory low.

        Args:
            images: with the generator of what is drawn for this visit.
            of: how many images the step has; the loss of an image counts one part in so many.

        Returns:
            The losses, summed over images and averaged over an image's rounds, and the number of prompts decoded.
        """
        lessons = [self._begin(sample, rng) for sample, rng in images]
        learnt = Learnt()
        while lessons:
            logits, scores = self._method.decode_several(
                [Asked(lesson.embedding, lesson.prompts, lesson.previous) for lesson in lessons]
            )
            counts = [len(lesson.prompts) for lesson in lessons]
            loss = logits.new_zeros(())
            for lesson, some, told in zip(
                lessons, torch.split(logits, counts), torch.split(scores, counts), strict=True
            ):
                mask, iou = self._losses(lesson, some, told)
                loss = loss + (mask + self._config.iou_weight * iou) / lesson.rounds
                learnt += Learnt(mask.item() / lesson.rounds, iou.item() / lesson.rounds, len(lesson.prompts))
            torch.autograd.backward(loss / of)
            singles = torch.split(logits[:, 0].detach(), counts)
            lessons = [
                self._correct(lesson, single) for lesson, single in zip(lessons, singles, strict=True) if lesson.left
            ]
        self._method.carry_back(of=of)
        return learnt

    def _begin(self, sample: Sample, rng: np.random.Generator) -> _Lesson:
        """Draw a view, objects, prompts and the number of rounds, in this order: the weights depend on it."""
        config = self._config
        if config.views > 1:
            sample = sample.viewed(VIEWS[rng.integers(config.views)])
        count = min(len(sample.objects), config.objects_per_step)
        objects = tuple(sample.objects[int(i)] for i in rng.choice(len(sample.objects), size=count, replace=False))
        embedding = self._embedding(sample)
        device = embedding.features.device
        prompts, previous = self._first(objects, rng=rng, device=device)
        rounds = 2 if rng.random() < config.corrective_share else 1
        covered = np.stack([grid_coverage(item, frame=self._method.frame) for item in objects])
        target = torch.from_numpy(covered).to(device)
        return _Lesson(sample, embedding, rng, target, prompts, previous, rounds, rounds - 1)

    def _first(
        self, objects: tuple[LabelledMask, ...], *, rng: np.random.Generator, device: torch.device
    ) -> tuple[tuple[Prompt, ...], Float[Tensor, "n g g"] | None]:
        """First prompts, and the masks' logits on the decoder's grid where the prompts begin with a mask to refine."""
        config, frame = self._config, self._method.frame
        # No draw without a share: a recipe that never shows masks gives the weights that it always gave.
        if config.mask_share and rng.random() < config.mask_share:
            prompts, shown = mask_prompts(objects, config=config, frame=frame, rng=rng)
            return prompts, torch.from_numpy(shown).to(device)
        return first_prompts(objects, config=config, frame=frame, rng=rng), None

    def _losses(
        self, lesson: _Lesson, logits: Float[Tensor, "n 4 g g"], scores: Float[Tensor, "n 4"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mask loss and score loss of one image, on the cells that the image reaches."""
        lesson.target = target = lesson.target.to(logits.device)
        shown = logits[..., : target.shape[1], : target.shape[2]]
        return decode_losses(shown, scores, target, prompts=lesson.prompts, config=self._config)

    def _correct(self, lesson: _Lesson, single: Float[Tensor, "n g g"]) -> _Lesson:
        """The same image with a click more where the mask is wrong; at times the mask is shown too."""
        sample, target, rng = lesson.sample, lesson.target, lesson.rng
        predicted = (single[:, : target.shape[1], : target.shape[2]] > 0).cpu().numpy()
        truth = (target > 0.5).cpu().numpy()
        image = {"height_px": sample.height_px, "width_px": sample.width_px}
        lesson.prompts = tuple(
            correct(prompt, predicted=predicted[i], truth=truth[i], frame=self._method.frame, rng=rng, **image)
            for i, prompt in enumerate(lesson.prompts)
        )
        lesson.previous = single if rng.random() < self._config.feedback_share else None
        lesson.left -= 1
        return lesson


def _ambiguous(prompts: Sequence[Prompt]) -> Bool[Tensor, " n"]:
    """Whether a prompt is one click and nothing else: it may mean a part, the object or a group.

    There SAM has three masks learn, and the best one counts (Kirillov et al. 2023, section 3, "Resolving ambiguity").
    """
    return torch.tensor([prompt.box is None and len(prompt.clicks) == 1 for prompt in prompts])


def decode_losses(
    logits: Float[Tensor, "n 4 rows cols"],
    scores: Float[Tensor, "n 4"],
    target: Float[Tensor, "n rows cols"],
    *,
    prompts: Sequence[Prompt],
    config: TrainConfig,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The masks' loss and the scores' loss of one decode.

    Of the masks the single one learns, and for an ambiguous prompt the best of the three as well (`_ambiguous`). All
    four scores learn.

    Args:
        logits: of the single mask and the three, on the cells that the image reaches; with gradient.
        scores: the predicted IoU of those masks, with gradient.
        target: the share of a cell that the object covers, in [0, 1].
        prompts: what was asked, one an object.
        config: its `losses`.

    Returns:
        Both at least 0, without a dimension: means over objects.

    An object that covers no cell by half has no truth on this grid to be scored by: an empty mask would be right.
    """
    single = mask_loss(logits[:, :1], target, losses=config.losses)[:, 0]
    ambiguous = _ambiguous(prompts).to(logits.device)
    score = iou_loss(scores, logits.detach(), target)
    there = (target > 0.5).flatten(1).any(1)
    score = score.mean() if bool(there.all()) else (score * there[:, None]).sum() / (4 * there.sum().clamp(min=1))
    if not bool(ambiguous.any()):
        return single.mean(), score
    best = mask_loss(logits[ambiguous, 1:], target[ambiguous], losses=config.losses).amin(1)
    return (single.sum() + best.sum()) / (len(single) + len(best)), score
