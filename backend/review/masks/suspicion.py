"""Annotations that are probably wrong, in their mask or in their label.

A mask is suspicious where the model is sure of an object, and the annotator drew another.

The model has never seen these images. Its figures for the annotator's box and for one click are two witnesses. A box
that is wrong itself (half an object, two objects) leads the model to a mask that agrees with it; a click inside does
not, and the model then believes its own mask more than the one in the box. A label is suspicious where the object looks
far more like the objects of another label on other images (finetuner/measuring/labels.py).

tests/benchmarks/suspicious.py plants mistakes and measures what the thresholds find; docs/results.md has the figures.
"""

from dataclasses import dataclass

from backend.registry.review_file import DrawnMask, ReviewedObject

LEAST_DOUBT = 0.25  # of IoU: expected less measured
SURER = 0.1  # of expected IoU: by how much a click's mask must be believed more than the box's
LEAST_LEAD = 0.8  # of probability: another label's less that of the object's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why an annotation may be wrong.

    Attributes:
        prompt: with it the model drew another mask, and expects it to be right; "box" if the label is doubted.
        by: the IoU that the model expects less the IoU that was measured; or the lead of the label in `looks_like`.
        looks_like: the label that the object looks like; None if its mask is doubted.
    """

    prompt: str
    by: float
    looks_like: str | None = None


def doubt_annotation(item: ReviewedObject) -> Doubt | None:
    """The doubt of the label or else of the mask; None where nothing speaks against the annotation."""
    return doubt_label(item) or doubt_mask(item)


def doubt_label(item: ReviewedObject) -> Doubt | None:
    """The doubt of the annotation's label; None where it looks like its own, or was not compared."""
    guess = item.guess
    if guess is None or guess.lead < LEAST_LEAD:
        return None
    return Doubt(prompt="box", by=guess.lead, looks_like=guess.label)


def doubt_mask(item: ReviewedObject) -> Doubt | None:
    """The stronger of both witnesses against the annotation's mask; None where neither speaks against it."""
    box, click = item.drawn["box", "candidate"], item.drawn["point", "candidate"]
    witnesses = [Doubt(prompt="box", by=_excess(box))]
    if click.predicted_iou - box.predicted_iou >= SURER:
        witnesses.append(Doubt(prompt="point", by=_excess(click)))
    strongest = max(witnesses, key=lambda doubt: doubt.by)
    return strongest if strongest.by >= LEAST_DOUBT else None


def _excess(drawn: DrawnMask) -> float:
    return drawn.predicted_iou - drawn.iou
