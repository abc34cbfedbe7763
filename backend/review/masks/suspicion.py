"""Annotations that are probably wrong: held-out objects of which the model is sure, and the annotator drew another.

The model has never seen these images. Its figures for the annotator's box and for one click are two witnesses. A box
that is wrong itself (half an object, two objects) leads the model to a mask that agrees with it; a click inside does
not, and the model then believes its own mask more than the one in the box. tests/benchmarks/suspicious.py plants
mistakes and measures what the thresholds find; docs/results.md has the figures.
"""

from dataclasses import dataclass

from backend.registry.review_file import DrawnMask, ReviewedObject

LEAST_DOUBT = 0.25  # of IoU: expected less measured
SURER = 0.1  # of expected IoU: by how much a click's mask must be believed more than the box's


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why an annotation may be wrong: with `prompt` the model drew another mask, and expects it to be right.

    `by`: the IoU that it expects less the IoU that was measured.
    """

    prompt: str
    by: float


def doubt_annotation(item: ReviewedObject) -> Doubt | None:
    """The stronger of both witnesses against the annotation; None where neither speaks against it."""
    box, click = item.drawn["box", "candidate"], item.drawn["point", "candidate"]
    witnesses = [Doubt(prompt="box", by=_excess(box))]
    if click.predicted_iou - box.predicted_iou >= SURER:
        witnesses.append(Doubt(prompt="point", by=_excess(click)))
    strongest = max(witnesses, key=lambda doubt: doubt.by)
    return strongest if strongest.by >= LEAST_DOUBT else None


def _excess(drawn: DrawnMask) -> float:
    return drawn.predicted_iou - drawn.iou
