"""One step's rounds: it simulates prompts, decodes them, back-propagates the losses, and may correct the prompts once.

Prompts are simulated round by round as in SAM's own training (Kirillov et al. 2023, appendix A, "Training algorithm"),
but with at most one corrective round instead of eight, and with a click on either kind of error (prompting.correct).
Every image draws from a generator of its own, so a step is the same in one part or in several, in one process or many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.sam.family import Decoded
from backend.sam.predictor import Embedding
from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.prompting import correct, first_prompts, mask_prompts
from finetuner.data.sample import Sample
from finetuner.data.views import VIEWS
from finetuner.methods.base import Asked, Method
from finetuner.training.losses import iou_loss, mask_loss, presence_loss


@dataclass(frozen=True, slots=True)
class Learnt:
    """Sums over images: the losses of masks, of their IoUs and of object scores, and the number of decoded prompts."""

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
        """What the weights are moved by."""
        return self.mask + iou_weight * self.iou + self.presence


@dataclass(slots=True)
class _Lesson:
    """An image in its rounds: its next prompts, and the number of rounds left."""

    sample: Sample
    embedding: Embedding
    rng: np.random.Generator
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
            The losses, averaged over an image's rounds and summed over images, and the number of prompts decoded.
        """
        lessons = [self._begin(sample, rng) for sample, rng in images]
        learnt = Learnt()
        while lessons:
            decoded = self._method.decode_several(
                [Asked(lesson.embedding, lesson.prompts, lesson.previous) for lesson in lessons]
            )
            counts = [len(lesson.prompts) for lesson in lessons]
            loss = decoded.logits.new_zeros(())
            for lesson, its in zip(lessons, _split(decoded, counts), strict=True):
                mask, iou, presence = self._losses(lesson, its)
                loss = loss + (mask + self._config.iou_weight * iou + presence) / lesson.rounds
                mean = [part.item() / lesson.rounds for part in (mask, iou, presence)]
                learnt += Learnt(mean[0], mean[1], len(lesson.prompts), mean[2])
            torch.autograd.backward(loss / of)
            singles = torch.split(decoded.logits[:, 0].detach(), counts)
            lessons = [
                self._correct(lesson, single) for lesson, single in zip(lessons, singles, strict=True) if lesson.left
            ]
        self._method.carry_back(of=of)
        return learnt

    def _begin(self, sample: Sample, rng: np.random.Generator) -> _Lesson:
        """Draw a view, objects, prompts and the number of rounds, in this order: the trained weights depend on it."""
        config = self._config
        if config.views > 1:
            sample = sample.apply_view(VIEWS[rng.integers(config.views)])
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
        """The first prompts, and the logits of the masks that they refine, on the decoder's grid (None: no masks)."""
        config, frame = self._config, self._method.frame
        # Nothing is drawn at a share of 0: a recipe without masks reproduces the weights of earlier releases.
        if config.mask_share and rng.random() < config.mask_share:
            prompts, shown = mask_prompts(objects, config=config, frame=frame, rng=rng)
            return prompts, torch.from_numpy(shown).to(device)
        return first_prompts(objects, config=config, frame=frame, rng=rng), None

    def _losses(
        self, lesson: _Lesson, decoded: Decoded
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """The losses of masks, IoUs and object scores of one image, on the cells that the image reaches.

        A mask learns whether its object is said to be there or not.
        """
        lesson.target = target = lesson.target.to(decoded.logits.device)
        shown, scores = decoded.logits[..., : target.shape[1], : target.shape[2]], decoded.object_scores
        mask, iou = decode_losses(shown, decoded.ious, target, prompts=lesson.prompts, config=self._config)
        return mask, iou, mask.new_zeros(()) if scores is None else presence_loss(scores, target).mean()

    def _correct(self, lesson: _Lesson, single: Float[Tensor, "n g g"]) -> _Lesson:
        """Add a click where the mask is wrong; at times the decoder sees the mask too (`feedback_share`)."""
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


def _split(decoded: Decoded, counts: Sequence[int]) -> list[Decoded]:
    """What was decoded for every image, of which `counts` tells the prompts."""
    scores = decoded.object_scores
    parts = zip(
        torch.split(decoded.logits, list(counts)),
        torch.split(decoded.ious, list(counts)),
        repeat(None) if scores is None else torch.split(scores, list(counts)),
        strict=False,
    )
    return [Decoded(logits=logits, ious=ious, object_scores=some) for logits, ious, some in parts]


def _ambiguous(prompts: Sequence[Prompt]) -> Bool[Tensor, " n"]:
    """Whether a prompt is a single click, which may mean a part, the object or a group.

    For such a prompt SAM trains three masks, and only the loss of the best counts (Kirillov et al. 2023, section 3,
    "Resolving ambiguity").
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
    """The mask loss and the score loss of one decode.

    The single mask learns from every prompt. From an ambiguous prompt (`_ambiguous`) the best of the three masks learns
    too. All four scores learn, except from an object that covers no cell by at least half: on this grid its true mask
    is empty.

    Args:
        logits: (n, 4, rows, columns) of the single mask and the three, on the cells that the image reaches.
        scores: (n, 4), the predicted IoU of those masks.
        target: (n, rows, columns), the share of a cell that the object covers, in [0, 1].
        prompts: the n prompts, one per object.
        config: names the `losses`.

    Returns:
        Two scalars, at least 0: means over objects. Their gradients reach `logits` and `scores`.
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
