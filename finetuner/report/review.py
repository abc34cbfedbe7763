"""Writes the held-out objects of a checkpoint for the review pages, in the format of registry.review_file."""

import math
from collections.abc import Sequence
from dataclasses import replace

from backend.masks.packed import KeptMask
from backend.registry.review_file import PROMPTS, DrawnMask, LabelGuess, ReviewedObject, encode_review, hash_object
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import UNLABELLED, Measured
from finetuner.report.overlays import window_of


def review_file(
    samples: Sequence[Sample],
    *,
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    guesses: Sequence[LabelGuess | None] = (),
) -> bytes:
    """Encode what `review_objects` returns."""
    return encode_review(review_objects(samples, base=base, candidate=candidate, guesses=guesses))


def review_objects(
    samples: Sequence[Sample],
    *,
    base: Sequence[Measured],
    candidate: Sequence[Measured],
    guesses: Sequence[LabelGuess | None] = (),
) -> list[ReviewedObject]:
    """Return every object with both models' masks; samples and measurements are in the order of evaluation.measure.

    `guesses`: of the objects' labels, in their order (measuring.labels); empty without any.
    """
    before, after = iter(base), iter(candidate)
    objects = [
        _review_object(sample, item, base=[next(before) for _ in PROMPTS], candidate=[next(after) for _ in PROMPTS])
        for sample in samples
        for item in sample.objects
    ]
    if not guesses:
        return objects
    return [replace(item, guess=guess) for item, guess in zip(objects, guesses, strict=True)]


def _review_object(
    sample: Sample, item: LabelledMask, *, base: Sequence[Measured], candidate: Sequence[Measured]
) -> ReviewedObject:
    human, label = KeptMask.of(item.mask), item.label if item.label is not None else UNLABELLED
    area_px = item.area_px
    models = (("base", base), ("candidate", candidate))
    return ReviewedObject(
        key=hash_object(sample.image_sha256, label, human),
        task_id=sample.task_id,
        image_uri=sample.image_uri,
        image_sha256=sample.image_sha256,
        label=label,
        window=window_of(item, *(mask.mask for mask in (*base, *candidate))),
        human=human,
        drawn={(mask.prompt, name): _draw(mask, area_px=area_px) for name, measured in models for mask in measured},
    )


def _draw(measured: Measured, *, area_px: int) -> DrawnMask:
    values = measured.values
    return DrawnMask(
        iou=values["iou"],
        boundary_iou=values["boundary_iou"],
        over_px=round(values["over_area"] * area_px),
        under_px=round(values["under_area"] * area_px),
        score=_finite(measured.score),
        predicted_iou=_finite(measured.predicted_iou),
        mask=measured.mask,
    )


def _finite(score: float) -> float:
    """The score, or 0 if it is not finite: the gate refuses such a model, but people can still look at its masks."""
    return score if math.isfinite(score) else 0.0
