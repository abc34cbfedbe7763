"""Compares two models on the held-out objects that both were measured on; no other comparison is fair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from backend.registry.figures import Interval
from backend.registry.review_file import PROMPTS, DrawnMask, ReviewedObject

_DRAWS, _SEED = 2000, 0
_LEAST = 0.0005  # the smallest difference that three decimals show
_MEASURES = (  # title, field, whether less is better
    ("IoU", "iou", False),
    ("Boundary IoU", "boundary_iou", False),
    ("over, px", "over_px", True),
    ("under, px", "under_px", True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """An object, and the masks that one model drew of it, by prompt."""

    item: ReviewedObject
    masks: Mapping[str, DrawnMask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One measure of two models on the same objects.

    Attributes:
        prompt: "box" or "point".
        title: the measure's name.
        first, second: the two models' means over the objects.
        mean: the second mean less the first.
        interval: the difference with its 95 % bootstrap interval over images; None for objects of a single image.
        is_better: whether the second model is better; None where the interval contains zero or is missing.
    """

    prompt: str
    title: str
    first: float
    second: float
    mean: float
    interval: Interval | None
    is_better: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences, over `objects` on `images` that both models were measured on; () without a common object."""

    objects: int
    images: int
    differences: tuple[Difference, ...]


def drawings_of(objects: Sequence[ReviewedObject], *, model: str = "candidate") -> dict[str, Drawing]:
    """Collect, by key, what the version drew of its held-out objects; or the base model, where `model` is "base"."""
    return {
        item.key: Drawing(item=item, masks={prompt: item.drawn[prompt, model] for prompt in PROMPTS})
        for item in objects
    }


def compare(first: Mapping[str, Drawing], second: Mapping[str, Drawing]) -> Comparison:
    """Compare two models object by object; every difference is the second less the first."""
    keys = [key for key in second if key in first]
    images = (
        np.unique([second[key].item.image_sha256 for key in keys], return_inverse=True)[1] if keys else np.empty(0, int)
    )
    differences = []
    for prompt in PROMPTS if keys else ():
        for title, field, is_less_better in _MEASURES:
            before, after = (
                np.array([getattr(drawings[key].masks[prompt], field) for key in keys], float)
                for drawings in (first, second)
            )
            interval = resample_images(after - before, images)
            differences.append(
                Difference(
                    prompt=prompt,
                    title=title,
                    first=float(before.mean()),
                    second=float(after.mean()),
                    mean=float((after - before).mean()),
                    interval=interval,
                    is_better=None if interval is None else _verdict(interval, is_less_better=is_less_better),
                )
            )
    return Comparison(objects=len(keys), images=len(set(images.tolist())), differences=tuple(differences))


def _verdict(interval: Interval, *, is_less_better: bool) -> bool | None:
    if abs(interval.mean) < _LEAST or interval.low <= 0 <= interval.high:
        return None
    return (interval.mean < 0) == is_less_better


def resample_images(values: Float[np.ndarray, " n"], images: Int[np.ndarray, " n"]) -> Interval | None:
    """The mean over objects with its 95 % interval by resampling images: objects on one image are not independent.

    Args:
        values: a figure of every object.
        images: the number of the image that the object is on, from 0 on without gaps.

    Returns:
        None for objects of a single image.
    """
    sums, counts = np.bincount(images, weights=values), np.bincount(images)
    if len(sums) < 2:
        return None
    drawn = np.random.default_rng(_SEED).integers(len(sums), size=(_DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))
