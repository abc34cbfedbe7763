"""Divides regions that hold all objects of a label into single objects, if that is the rule in a project.

Annotators who think in classes paint every nucleus of an image into one brush region. As a single object, such a region
would teach that a click on a nucleus means all nuclei, and held-out regions of the same kind would confirm that.

A part of a region is a connected component (by sides and corners); a large part has at least a tenth of the area of the
largest. A label is merged on an image if its regions there have two or more large parts on average. A label's regions
are divided if it is merged on at least two images and on a third of those that have it. A car behind a post therefore
stays one object as long as most cars are whole.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from scipy import ndimage

from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask, Region
from finetuner.data.sample import Sample

_LARGE = 0.1  # of the largest part's area
_SPECK = 0.01
_LEAST_IMAGES = 2
_LEAST_SHARE = 1 / 3
_BY_CORNER = np.ones((3, 3), bool)
_LEFT_OUT = "a speck beside the parts of a region with several objects"


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of an object: an array with their numbers in its box (0: background), and their areas in px."""

    numbers: Int[np.ndarray, "ch cw"]
    areas_px: Int[np.ndarray, " parts"]

    @classmethod
    def of(cls, item: LabelledMask) -> "_Parts":
        numbers, _ = ndimage.label(item.crop, _BY_CORNER)
        areas = np.bincount(numbers.ravel())
        areas[0] = 0
        return cls(numbers.astype(np.int64), areas.astype(np.int64))

    @property
    def large(self) -> int:
        """The number of large parts, at least 1."""
        return int((self.areas_px >= _LARGE * self.areas_px.max()).sum())


def divide_merged(samples: Sequence[Sample], *, min_object_px: int, exclusions: Exclusions) -> list[Sample]:
    """Return the samples with merged regions divided into their parts, which refer to their region.

    Parts below a hundredth of the largest part's area, or below `min_object_px`, are left out and counted. Regions of
    labels that are not merged stay unchanged.
    """
    merged = find_merged_labels(samples)
    if not merged:
        return list(samples)
    divided = []
    for sample in samples:
        objects: list[LabelledMask] = []
        for number, item in enumerate(sample.objects):
            parts = _Parts.of(item) if item.label in merged else None
            if parts is None or parts.large < 2:
                objects.append(item)
                continue
            least_px = max(min_object_px, _SPECK * parts.areas_px.max())
            large = np.flatnonzero(parts.areas_px >= least_px)
            objects += _cut(item, parts, chosen=large, region=Region(number=number, area_px=item.area_px))
            if specks := int(np.count_nonzero(parts.areas_px)) - len(large):
                exclusions.add(_LEFT_OUT, count=specks, task=sample.task_id)
        divided.append(replace(sample, objects=tuple(objects)))
    return divided


def find_merged_labels(samples: Sequence[Sample]) -> frozenset[str | None]:
    """The merged labels: those whose regions usually have several large parts."""
    images: dict[str | None, list[bool]] = defaultdict(list)
    for sample in samples:
        large: dict[str | None, list[int]] = defaultdict(list)
        for item in sample.objects:
            large[item.label].append(_Parts.of(item).large)
        for label, counts in large.items():
            images[label].append(sum(counts) >= 2 * len(counts))
    return frozenset(
        label
        for label, are_merged in images.items()
        if sum(are_merged) >= max(_LEAST_IMAGES, _LEAST_SHARE * len(are_merged))
    )


def _cut(item: LabelledMask, parts: _Parts, *, chosen: Int[np.ndarray, " n"], region: Region) -> Iterator[LabelledMask]:
    top, left = item.bounds.y0_px, item.bounds.x0_px
    boxes = ndimage.find_objects(parts.numbers)
    for number in chosen.tolist():
        rows, columns = boxes[number - 1]
        cut = LabelledMask.cut(
            parts.numbers[rows, columns] == number,
            at=(top + rows.start, left + columns.start),
            size_px=(item.height_px, item.width_px),
            label=item.label,
        )
        yield replace(cut, region=region)
