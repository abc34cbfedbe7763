"""Measures a head's labels on held-out images, per pixel and without a prompt, as it would be served."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backend.masks.metrics import boundary_iou, hd95_px
from backend.registry.figures import METRICS, MaskFigures
from backend.registry.metrics import SemanticReport
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding
from backend.sam.semantic.head import SemanticHead
from backend.sam.semantic.objects import enlarge_margin, semantic_maps
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import UNLABELLED
from finetuner.semantic.targets import classes_of, near


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOnImage:
    """One label on one image: the pixels that both, only the head, and only people gave it, and the edges' distance."""

    image_sha256: str
    label: str
    both_px: int
    over_px: int
    under_px: int
    boundary_iou: float
    hd95_px: float

    @property
    def truth_px(self) -> int:
        """The number of pixels that people gave the label."""
        return self.both_px + self.under_px

    @property
    def iou(self) -> float:
        """Of the label's pixels on this image; 0 where people or the head saw it alone."""
        return self.both_px / (self.both_px + self.over_px + self.under_px)


def measure_semantic(
    head: SemanticHead,
    samples: Sequence[Sample],
    *,
    base: BaseModel,
    embedding: Callable[[Sample], Embedding],
    unlabelled: str = "background",
) -> tuple[LabelOnImage, ...]:
    """Measure every label of the head on every image where people or the head see it.

    As in training (targets.target_of), objects without a class do not count, and neither does, with
    `unlabelled="unknown"`, what is far from every object.
    """
    return tuple(
        measured
        for sample in samples
        for measured in _measure_image(head, sample, base=base, embedding=embedding(sample), unlabelled=unlabelled)
    )


def semantic_report(measured: Sequence[LabelOnImage]) -> SemanticReport | None:
    """Summarise the measurements by label; None if people drew no label on these images.

    A label's `iou`, `dice`, `over_area` and `under_area` are over its pixels on all images together, as in Pascal VOC.
    Its `boundary_iou` and `hd95_px` are means over the `n` images where people or the head see it. `mean` averages over
    labels with equal weights, and its `n` is the sum of theirs.
    """
    by_label: dict[str, list[LabelOnImage]] = {}
    for on_image in measured:
        by_label.setdefault(on_image.label, []).append(on_image)
    labels = {
        label: _measures(images) for label, images in sorted(by_label.items()) if any(on.truth_px for on in images)
    }
    if not labels:
        return None
    mean = {name: float(np.mean([figures.figure(name) for figures in labels.values()])) for name in METRICS}
    return SemanticReport(
        mean=MaskFigures(**mean, n=sum(figures.n for figures in labels.values())),
        labels=labels,
    )


def _measure_image(
    head: SemanticHead, sample: Sample, *, base: BaseModel, embedding: Embedding, unlabelled: str
) -> Iterator[LabelOnImage]:
    maps, classes = semantic_maps(head, embedding, base=base), classes_of(sample, labels=head.labels)
    known = classes >= 0
    if unlabelled == "unknown":
        known &= near(classes > 0, reach=sample.band_px)
    for number, label in enumerate(head.labels):
        size = {"height_px": sample.height_px, "width_px": sample.width_px}
        seen, drawn = (
            enlarge_margin(maps.margins[number], frame=maps.frame, **size) & known,
            (classes == number + 1) & known,
        )
        if seen.any() or drawn.any():
            yield LabelOnImage(
                image_sha256=sample.image_sha256,
                label=UNLABELLED if label is None else label,
                both_px=int((seen & drawn).sum()),
                over_px=int((seen & ~drawn).sum()),
                under_px=int((drawn & ~seen).sum()),
                boundary_iou=boundary_iou(seen, drawn),
                hd95_px=hd95_px(seen, drawn),
            )


def _measures(images: Sequence[LabelOnImage]) -> MaskFigures:
    both, over, under = (
        sum(column) for column in zip(*((on.both_px, on.over_px, on.under_px) for on in images), strict=True)
    )
    truth = both + under
    return MaskFigures(
        iou=both / (truth + over),
        dice=2 * both / (2 * both + over + under),
        boundary_iou=float(np.mean([on_image.boundary_iou for on_image in images])),
        hd95_px=float(np.mean([on_image.hd95_px for on_image in images])),
        over_area=over / truth,
        under_area=under / truth,
        n=len(images),
    )
