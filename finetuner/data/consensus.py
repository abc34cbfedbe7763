"""Merges several annotators' drawings of an image into one set of masks, by a majority vote per pixel.

Objects of different annotators match if they have the same label and an IoU above one half. The best pairs match first,
and an object has at most one drawing per annotator. A pixel belongs to the object if more than half of all votes
include it; an annotator who did not draw the object votes against it. Two annotators therefore keep what both drew, and
a single annotator's drawing stays as it is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from finetuner.data.objects import LabelledMask

SAME_IOU = 0.5  # above one half, no mask matches two others that do not overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One annotator's objects on an image, and the number of votes that the annotator has."""

    annotator: str
    objects: tuple[LabelledMask, ...]
    votes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """The agreed objects, from the top left on; `outvoted` counts the objects left with too few pixels."""

    objects: tuple[LabelledMask, ...]
    outvoted: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One annotator's drawing of an object; `key` sorts drawings independently of their order in the input."""

    key: tuple[int, int, str, str, str]
    annotator: str
    votes: int
    item: LabelledMask
    crop: Bool[np.ndarray, "ch cw"]


def majority(drawings: Sequence[Drawing], *, min_object_px: int = 1) -> Consensus:
    """Merge the drawings of one image: an object keeps the pixels that more than half of all votes include.

    The result does not depend on the order of the drawings or of their objects.

    Args:
        drawings: one per annotator.
        min_object_px: an object with fewer pixels left is outvoted.

    Raises:
        ValueError: two drawings are of the same annotator.
    """
    if len({drawing.annotator for drawing in drawings}) < len(drawings):
        raise ValueError(f"{len(drawings)} drawings by fewer annotators: pass one drawing per annotator")
    votes = sum(drawing.votes for drawing in drawings)
    drawn = sorted(
        (_list_drawn(item, of=drawing) for drawing in drawings for item in drawing.objects),
        key=lambda drawing: drawing.key,
    )
    objects, outvoted = [], 0
    for group in _groups(drawn):
        agreed = _agree([drawn[index] for index in group], votes=votes, min_object_px=min_object_px)
        if agreed is None:
            outvoted += 1
        else:
            objects.append(agreed)
    return Consensus(objects=tuple(objects), outvoted=outvoted)


def _list_drawn(item: LabelledMask, *, of: Drawing) -> _Drawn:
    content = hashlib.sha256(item.packed.bits + repr(item.crop_shape).encode()).hexdigest()
    return _Drawn(
        (item.bounds.y0_px, item.bounds.x0_px, repr(item.label), content, of.annotator),
        of.annotator,
        of.votes,
        item,
        item.crop,
    )


def _groups(drawn: Sequence[_Drawn]) -> list[list[int]]:
    """The indices of the drawings of each object, sorted; the objects in the order of their first drawing."""
    group_of = {index: [index] for index in range(len(drawn))}
    pairs = sorted((-_iou(drawn[a].item, drawn[a].crop, drawn[b].item, drawn[b].crop), a, b) for a, b in _near(drawn))
    for minus_iou, a, b in pairs:
        if -minus_iou <= SAME_IOU:
            break
        first, second = group_of[a], group_of[b]
        annotators = [drawn[index].annotator for index in (*first, *second)]
        if first is not second and len(set(annotators)) == len(annotators):
            merged = sorted(first + second)
            group_of.update(dict.fromkeys(merged, merged))
    return [group for index, group in group_of.items() if group[0] == index]


def _near(drawn: Sequence[_Drawn]) -> list[tuple[int, int]]:
    """Pairs of drawings by different annotators with the same label and overlapping boxes."""
    by_label: dict[str | None, list[int]] = {}
    for index, drawing in enumerate(drawn):
        by_label.setdefault(drawing.item.label, []).append(index)
    pairs: list[tuple[int, int]] = []
    for indices in by_label.values():
        edges = np.array([_edges(drawn[index].item) for index in indices])
        for place, a in enumerate(indices):
            rest = edges[place + 1 :]
            y0, x0, y1, x1 = edges[place]
            meets = (rest[:, 0] < y1) & (rest[:, 1] < x1) & (rest[:, 2] > y0) & (rest[:, 3] > x0)
            others = (indices[place + 1 + int(step)] for step in np.flatnonzero(meets))
            pairs += [(a, b) for b in others if drawn[a].annotator != drawn[b].annotator]
    return pairs


def _edges(item: LabelledMask) -> tuple[int, int, int, int]:
    bounds = item.bounds
    return bounds.y0_px, bounds.x0_px, bounds.y1_px, bounds.x1_px


def _iou(
    a: LabelledMask, crop_a: Bool[np.ndarray, "ah aw"], b: LabelledMask, crop_b: Bool[np.ndarray, "bh bw"]
) -> float:
    (ay0, ax0, ay1, ax1), (by0, bx0, by1, bx1) = _edges(a), _edges(b)
    y0, x0, y1, x1 = max(ay0, by0), max(ax0, bx0), min(ay1, by1), min(ax1, bx1)
    if y0 >= y1 or x0 >= x1:
        return 0.0
    shared = crop_a[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0] & crop_b[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
    both = int(np.count_nonzero(shared))
    return both / (int(np.count_nonzero(crop_a)) + int(np.count_nonzero(crop_b)) - both)


def _agree(group: Sequence[_Drawn], *, votes: int, min_object_px: int) -> LabelledMask | None:
    """The object's pixels that more than half of `votes` include; None if they are fewer than `min_object_px`."""
    first = group[0].item
    counted: Int[np.ndarray, "h w"] = np.zeros((first.height_px, first.width_px), np.int32)
    for drawing in group:
        y0, x0, y1, x1 = _edges(drawing.item)
        counted[y0:y1, x0:x1] += drawing.crop * np.int32(drawing.votes)
    mask = counted * 2 > votes
    return LabelledMask.of(mask, label=first.label) if np.count_nonzero(mask) >= max(1, min_object_px) else None
