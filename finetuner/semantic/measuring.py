"""How well a head finds the labels of held-out images: pixel by pixel, prompt-free, as it would be served."""

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
from finetuner.semantic.targets import band_px, classes_of, near


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One label on one image: pixels that both, the head alone, and people alone gave it; and how far the edges are."""

    image_sha256: str
    label: str
    both_px: int
    over_px: int
    under_px: int
    boundary_iou: float
    hd95_px: float

    @property
    def truth_px(self) -> int:
        """Pixels that people gave the label."""
        return self.both_px + self.under_px


def measure_semantic(
    head: SemanticHead,
    samples: Sequence[Sample],
    *,
    base: BaseModel,
    embedding: Callable[[Sample], Embedding],
    unlabelled: str = "background",
) -> tuple[Found, ...]:
    """Every label of the head on every image where people or the head see it.

    Objects without a class are left out of the count, and with `unlabelled="unknown"` whatever is far from every
    object, as in training (targets.target_of).
    """
    return tuple(
        found
        for sample in samples
        for found in _find_mask(head, sample, base=base, embedding=embedding(sample), unlabelled=unlabelled)
    )


def semantic_report(found: Sequence[Found]) -> SemanticReport | None:
    """Figures over the labels that people drew on these images; None where none was drawn.

    Of a label, "iou", "dice", "over_area" and "under_area" are those of all its pixels on all images together, as
    Pascal VOC counts; "boundary_iou" and "hd95_px" means over the `n` images where people or the head see it. "mean" is
    over labels, which count the same, and its "n" the sum of theirs.
    """
    by_label: dict[str, list[Found]] = {}
    for on_image in found:
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


def _find_mask(
    head: SemanticHead, sample: Sample, *, base: BaseModel, embedding: Embedding, unlabelled: str
) -> Iterator[Found]:
    maps, classes = semantic_maps(head, embedding, base=base), classes_of(sample, labels=head.labels)
    known = classes >= 0
    if unlabelled == "unknown":
        known &= near(classes > 0, reach=band_px(sample))
    for number, label in enumerate(head.labels):
        size = {"height_px": sample.height_px, "width_px": sample.width_px}
        seen, drawn = (
            enlarge_margin(maps.margins[number], frame=maps.frame, **size) & known,
            (classes == number + 1) & known,
        )
        if seen.any() or drawn.any():
            yield Found(
                image_sha256=sample.image_sha256,
                label=UNLABELLED if label is None else label,
                both_px=int((seen & drawn).sum()),
                over_px=int((seen & ~drawn).sum()),
                under_px=int((drawn & ~seen).sum()),
                boundary_iou=boundary_iou(seen, drawn),
                hd95_px=hd95_px(seen, drawn),
            )


def _measures(found: Sequence[Found]) -> MaskFigures:
    both, over, under = (
        sum(column) for column in zip(*((f.both_px, f.over_px, f.under_px) for f in found), strict=True)
    )
    truth = both + under
    return MaskFigures(
        iou=both / (truth + over),
        dice=2 * both / (2 * both + over + under),
        boundary_iou=float(np.mean([on_image.boundary_iou for on_image in found])),
        hd95_px=float(np.mean([on_image.hd95_px for on_image in found])),
        over_area=over / truth,
        under_area=under / truth,
        n=len(found),
    )
