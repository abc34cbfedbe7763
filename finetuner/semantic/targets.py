"""Computes the targets of the semantic head: the share of every label, and of the background, in every cell.

Where objects of several labels overlap, the smaller one counts: it lies on the larger one, or it would be hidden.
Unannotated pixels are background, because images are assumed to be annotated in full. With `unlabelled="unknown"` only
a band around every object is background, and the rest of the image counts neither in training nor in measuring.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int
from scipy import ndimage

from backend.registry.metrics import MOST_LABELS
from backend.sam.frame import Frame
from finetuner.data.objects import LabelledMask, grid_coverage
from finetuner.data.sample import BAND_SHARE, Sample


@dataclass(frozen=True, slots=True)
class Target:
    """A target: the `shares` of the background and of every label, which sum to 1 in a cell, and the `known` cells."""

    shares: Float32[np.ndarray, "classes rows cols"] = field(repr=False)
    known: Bool[np.ndarray, "rows cols"] = field(repr=False)


def labels_of(samples: Sequence[Sample]) -> tuple[str | None, ...]:
    """The hundred most frequent labels of the objects, sorted by name; (None,) if no object has a label.

    In a project with labels, objects without one have no class, and their cells are unknown.
    """
    count = Counter(item.label for sample in samples for item in sample.objects)
    named = [label for label, _ in count.most_common() if label is not None][:MOST_LABELS]
    return tuple(sorted(named)) or ((None,) if count else ())


def target_of(sample: Sample, *, labels: Sequence[str | None], frame: Frame, unlabelled: str = "background") -> Target:
    """Compute a sample's target.

    Args:
        sample: the image and its objects.
        labels: the head's labels.
        frame: the frame with the decoder's grid.
        unlabelled: "background" if the image is annotated in full, or "unknown".

    Returns:
        The target on the cells of the decoder's grid that the image reaches.
    """
    rows, columns = frame.grid_reached(sample.height_px, sample.width_px)
    shares = np.zeros((1 + len(labels), rows, columns), np.float32)
    shares[0] = 1
    place = {label: number for number, label in enumerate(labels, start=1)}
    unclassed = np.zeros((rows, columns), bool)
    for item in _smallest_last(sample.objects):
        cover = grid_coverage(item, frame=frame)
        if (number := place.get(item.label)) is None:
            unclassed |= cover > 0
            continue
        shares *= 1 - cover
        shares[number] += cover
        unclassed &= cover < 1
    known = ~unclassed
    if unlabelled == "unknown":
        known &= near(shares[0] < 1, reach=max(1, round(BAND_SHARE * frame.grid)))
    return Target(shares=shares, known=known)


def classes_of(sample: Sample, *, labels: Sequence[str | None]) -> Int[np.ndarray, "h w"]:
    """The class of every pixel: 0 is background, then the labels in order; -1 is an object without one of them."""
    classes = np.zeros((sample.height_px, sample.width_px), np.int16)
    place = {label: number for number, label in enumerate(labels, start=1)}
    for item in _smallest_last(sample.objects):
        classes[item.bounds.slices][item.crop] = place.get(item.label, -1)
    return classes


def near(drawn: Bool[np.ndarray, "h w"], *, reach: int) -> Bool[np.ndarray, "h w"]:
    """The drawn pixels, and those up to `reach` pixels away in rows and columns."""
    size = 2 * reach + 1
    return np.asarray(ndimage.maximum_filter(drawn.view(np.uint8), size=size, mode="constant", cval=0) > 0)


def class_weights(targets: Iterable[Target], *, most: float) -> Float32[np.ndarray, " classes"]:
    """The weight of a cell by class, from 1 for frequent classes up to `most` for rare ones.

    It is the square root of the median class's share divided by the class's own. The full ratio would make a label of a
    few cells draw masks several times its size.
    """
    total = sum(np.where(target.known, target.shares, 0).sum((1, 2)) for target in targets)
    share = np.maximum(np.asarray(total, np.float64), 1e-9)
    weights: Float32[np.ndarray, " classes"] = np.clip(np.sqrt(np.median(share) / share), 1.0, most).astype(np.float32)
    return weights


def _smallest_last(objects: Sequence[LabelledMask]) -> list[LabelledMask]:
    """Sort objects by area, the largest first. A part of a region sorts by its region's area: people drew it whole."""
    return sorted(objects, key=lambda item: -(item.area_px if item.region is None else item.region.area_px))
