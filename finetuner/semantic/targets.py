"""What each cell of an image is: the share of every label in it, and of the ground.

Where objects of several labels overlap the smaller one wins: it lies on the larger one, or it would not be seen. What
nobody drew on is ground, since every image is taken to be annotated in full; where it is not (`unlabelled="unknown"`),
only a band around each object is known to be ground, and the rest of the image teaches and measures nothing.
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
from finetuner.data.sample import Sample

_BAND_SHARE = 0.02  # of the image's longer side: as wide as the band of Boundary IoU, or a little wider


@dataclass(frozen=True, slots=True)
class Target:
    """`shares` of the ground and of each label in each cell, which sum to one; `known`: the cells that count."""

    shares: Float32[np.ndarray, "classes rows cols"] = field(repr=False)
    known: Bool[np.ndarray, "rows cols"] = field(repr=False)


def labels_of(samples: Sequence[Sample]) -> tuple[str | None, ...]:
    """The labels that have an object, the most frequent hundred, in order of name; (None,) where no object has one.

    Objects without a label beside others with one have no class: their cells are not known.
    """
    count = Counter(item.label for sample in samples for item in sample.objects)
    named = [label for label, _ in count.most_common() if label is not None][:MOST_LABELS]
    return tuple(sorted(named)) or ((None,) if count else ())


def target_of(sample: Sample, *, labels: Sequence[str | None], frame: Frame, unlabelled: str = "background") -> Target:
    """The sample's cells on the decoder's grid, as far as the image reaches."""
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
        known &= near(shares[0] < 1, reach=max(1, round(_BAND_SHARE * frame.grid)))
    return Target(shares=shares, known=known)


def classes_of(sample: Sample, *, labels: Sequence[str | None]) -> Int[np.ndarray, "h w"]:
    """The class of every pixel: 0 is ground, then the labels; -1 where an object has none of them."""
    classes = np.zeros((sample.height_px, sample.width_px), np.int16)
    place = {label: number for number, label in enumerate(labels, start=1)}
    for item in _smallest_last(sample.objects):
        classes[item.bounds.slices][item.crop] = place.get(item.label, -1)
    return classes


def near(drawn: Bool[np.ndarray, "h w"], *, reach: int) -> Bool[np.ndarray, "h w"]:
    """Where something is drawn, and what is up to `reach` away from it in rows and columns."""
    size = 2 * reach + 1
    return np.asarray(ndimage.maximum_filter(drawn.view(np.uint8), size=size, mode="constant", cval=0) > 0)


def band_px(sample: Sample) -> int:
    """How far from an object ground is known to be ground, where annotations are not complete."""
    return max(1, round(_BAND_SHARE * max(sample.height_px, sample.width_px)))


def class_weights(targets: Iterable[Target], *, most: float) -> Float32[np.ndarray, " classes"]:
    """What a cell of each class counts: the rarer the more, the frequent ones 1, up to `most`.

    The square root of the share that the median class has to its own: in full, a label of a few cells would draw masks
    several times its size.
    """
    total = sum(np.where(target.known, target.shares, 0).sum((1, 2)) for target in targets)
    share = np.maximum(np.asarray(total, np.float64), 1e-9)
    weights: Float32[np.ndarray, " classes"] = np.clip(np.sqrt(np.median(share) / share), 1.0, most).astype(np.float32)
    return weights


def _smallest_last(objects: Sequence[LabelledMask]) -> list[LabelledMask]:
    """Parts of a region lie where the region would: people drew it as a whole."""
    return sorted(objects, key=lambda item: -(item.area_px if item.region is None else item.region.area_px))
