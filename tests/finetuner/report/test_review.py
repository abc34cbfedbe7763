"""The masks beside a checkpoint are what both models drew of every held-out object."""

import math
from pathlib import Path

import numpy as np

from backend.masks.packed import KeptMask
from backend.registry.figures import METRICS, PROMPTS
from backend.registry.review_file import LabelGuess, parse_review
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.measuring.evaluation import Measured
from finetuner.report.review import review_file


def _mask(left_px: int) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[5:15, left_px : left_px + 10] = True
    return mask


def _measured(prompt: str, left_px: int, *, score: float) -> Measured:
    return Measured(
        image_sha256="a" * 64,
        label="Disc",
        size="small",
        prompt=prompt,
        values={**dict.fromkeys(METRICS, 0.5), "over_area": 0.25},
        score=score,
        predicted_iou=0.75,
        mask=KeptMask.of(_mask(left_px)),
    )


def test_every_object_comes_back_with_its_masks_and_areas_in_px() -> None:
    item = LabelledMask.of(_mask(5), label=None)
    sample = Sample(image_sha256="a" * 64, height_px=20, width_px=30, objects=(item,), task_id=7, image_uri="/a.png")
    base = [_measured(prompt, 2, score=0.5) for prompt in PROMPTS]
    candidate = [_measured(prompt, 8, score=math.nan) for prompt in PROMPTS]
    (told,) = parse_review(review_file([sample], base=base, candidate=candidate), where=Path("review.json"))
    assert (told.task_id, told.image_uri, told.label) == (7, "/a.png", "(none)")
    assert (told.human.window(0, 0, height_px=20, width_px=30) == item.mask).all()
    drawn = told.drawn["point", "candidate"]
    assert (drawn.mask.window(0, 0, height_px=20, width_px=30) == _mask(8)).all()
    assert (drawn.over_px, drawn.under_px) == (25, 50)
    # A score that is no number can be looked at all the same.
    assert (drawn.score, told.drawn["box", "base"].score) == (0.0, 0.5)


def test_every_object_has_the_guess_of_its_own_label() -> None:
    items = tuple(LabelledMask.of(_mask(left_px), label="Disc") for left_px in (5, 15))
    sample = Sample(image_sha256="a" * 64, height_px=20, width_px=30, objects=items)
    measured = [_measured(prompt, 2, score=0.5) for _ in items for prompt in PROMPTS]
    guess = LabelGuess(label="Ring", lead=0.5)
    file = review_file([sample], base=measured, candidate=measured, guesses=(None, guess))
    assert [item.guess for item in parse_review(file, where=Path("review.json"))] == [None, guess]
