"""Counts a training's data: images, objects by label and size, and what was left out, by reason."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.amounts import write_amount
from backend.registry.metrics import DataMetrics, LabelMetrics, LeftOut
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import SIZES
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import UNLABELLED

_ALL = "all"
_LONGEST_LABEL = 40
_MOST_LABELS = 30  # rows of the table; the JSON has all


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """The objects of one label; `sizes` counts them by SIZES, and the median area is in image px."""

    label: str
    objects: int
    images: int
    sizes: Mapping[str, int]
    median_area_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """The usable images and objects of a training, and what was left out.

    Attributes:
        images: the number of images.
        ground_truth_images: the number of images with ground truth.
        labels: the counts by label, the most frequent first.
        all_labels: the sum over labels.
        left_out: the reasons with their counts, the most frequent first.
        empty_images: images submitted without a region, background for the semantic head.
        divided: the number of regions that were divided into objects (data.parts).
        parts: the number of those objects.
    """

    images: int
    ground_truth_images: int
    labels: tuple[LabelCount, ...]
    all_labels: LabelCount
    left_out: tuple[LeftOut, ...]
    empty_images: int = 0
    divided: int = 0
    parts: int = 0

    @classmethod
    def of(cls, samples: Sequence[Sample], exclusions: Exclusions) -> "DataReport":
        """Count the samples. An image that two tasks share counts once, but the objects of both count."""
        labels = {item.label for sample in samples for item in sample.objects}
        counts = [_count(samples, label, name=UNLABELLED if label is None else label) for label in labels]
        regions = [
            (number, item.region.number)
            for number, sample in enumerate(samples)
            for item in sample.objects
            if item.region is not None
        ]
        return cls(
            images=len({sample.image_sha256 for sample in samples}),
            ground_truth_images=len({sample.image_sha256 for sample in samples if sample.is_ground_truth}),
            labels=tuple(sorted(counts, key=lambda count: (-count.objects, count.label))),
            all_labels=_count(samples, *labels, name=_ALL),
            left_out=tuple(
                LeftOut(reason=exclusion.reason, count=exclusion.count) for exclusion in exclusions.by_reason()
            ),
            empty_images=len({sample.image_sha256 for sample in samples if not sample.objects}),
            divided=len(set(regions)),
            parts=len(regions),
        )

    def figures(self) -> dict[str, int]:
        """The report's totals, as progress figures."""
        return {
            "images": self.images,
            "objects": self.all_labels.objects,
            "labels": len(self.labels),
            **self.all_labels.sizes,
            "left_out": sum(left_out.count for left_out in self.left_out),
        }

    def metrics(self) -> DataMetrics:
        """The report as the manifest stores it."""
        return DataMetrics(
            images=self.images,
            objects=self.all_labels.objects,
            ground_truth_images=self.ground_truth_images,
            sizes=self.all_labels.sizes,
            labels={
                count.label: LabelMetrics(
                    objects=count.objects, images=count.images, median_area_px=count.median_area_px, **count.sizes
                )
                for count in self.labels
            },
            left_out=self.left_out,
            empty_images=self.empty_images,
            divided_regions=self.divided,
            parts=self.parts,
        )

    def table(self) -> str:
        """The report as text for a terminal or a log: a row per label, then what was left out."""
        heading = ("label", "objects", "images", *SIZES, "median px")
        shown = [*self.labels[:_MOST_LABELS], *([] if len(self.labels) == 1 else [self.all_labels])]
        rows = [heading, *(_cells(count) for count in shown)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        if (more := len(self.labels) - _MOST_LABELS) > 0:
            lines.insert(-1, f"... and {write_amount(more, 'more label')}")
        if self.ground_truth_images:
            lines.append(f"ground truth on {self.ground_truth_images} of {self.images} images")
        if self.empty_images:
            lines.append(
                f"{self.empty_images} of {self.images} images were submitted without a region: background for the "
                "semantic head"
            )
        if self.divided:
            held = write_amount(
                self.divided, "region holds several objects and was", "regions hold several objects and were"
            )
            lines.append(
                f"{held} divided into {self.parts} objects "
                "(SAMLOOP_MERGED_REGIONS=keep keeps every region as one object)"
            )
        counts = [str(left_out.count) for left_out in self.left_out]
        lines += [
            f"left out  {count.rjust(max(map(len, counts)))} x {left_out.reason}"
            for count, left_out in zip(counts, self.left_out, strict=True)
        ]
        return "\n".join(lines if self.left_out else [*lines, "left out  nothing"])


def _count(samples: Sequence[Sample], *labels: str | None, name: str) -> LabelCount:
    objects = [item for sample in samples for item in sample.objects if item.label in labels]
    sizes = Counter(item.size for item in objects)
    return LabelCount(
        label=name,
        objects=len(objects),
        images=len({sample.image_sha256 for sample in samples if any(item.label in labels for item in sample.objects)}),
        sizes={size: sizes[size] for size in SIZES},
        median_area_px=round(statistics.median(item.area_px for item in objects)) if objects else 0,
    )


def _cells(count: LabelCount) -> tuple[str, ...]:
    label = count.label if len(count.label) <= _LONGEST_LABEL else f"{count.label[: _LONGEST_LABEL - 3]}..."
    printable = "".join(letter if letter.isprintable() else "?" for letter in label)
    numbers = (count.objects, count.images, *count.sizes.values(), count.median_area_px)
    return printable, *(str(number) for number in numbers)
