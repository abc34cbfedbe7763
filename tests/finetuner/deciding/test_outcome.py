"""What follows from measures: who is compared on which images, and what scores are worth."""

from dataclasses import replace

import numpy as np
import pytest

from backend.masks.packed import KeptMask
from backend.registry.calibration import Calibration
from backend.registry.figures import METRICS, PROMPTS
from finetuner.config import TrainConfig
from finetuner.deciding.outcome import Compared, predictions
from finetuner.measuring.evaluation import Measured

CONFIG = TrainConfig(bootstrap_rounds=20)
MASK = KeptMask.of(np.ones((2, 2), bool))


def _measured(iou: float, *, images: int = 3) -> tuple[Measured, ...]:
    return tuple(
        Measured(
            image_sha256=str(image),
            label="Disc",
            size="small",
            prompt=prompt,
            values=dict.fromkeys(METRICS, iou),
            score=0.4,
            predicted_iou=0.8,
            mask=MASK,
        )
        for image in range(images)
        for prompt in PROMPTS
    )


def _compared(**changes: object) -> Compared:
    told = {"base_name": "the base", "served_name": "v1", "base": _measured(0.5), "candidate": _measured(0.7)}
    return Compared(**{**told, "served": None, **changes})


def test_without_a_served_version_the_candidate_is_compared_with_the_base_alone() -> None:
    figures = _compared().figures(CONFIG, calibration=None)
    assert figures.difference is not None
    assert figures.difference["box"]["iou"] == pytest.approx((0.2, 0.2, 0.2))
    assert (figures.images, figures.objects, figures.served, figures.difference_to_served) == (3, 3, None, None)
    verdict = _compared(notes=("as told",)).verdict(CONFIG)
    assert verdict.promote
    assert verdict.reasons[-1] == "as told"


def test_what_is_served_is_compared_on_fair_images_alone() -> None:
    served = tuple(
        mask if mask.image_sha256 == "0" else _measured(0.9)[index] for index, mask in enumerate(_measured(0.6))
    )
    everywhere = _compared(served=served).figures(CONFIG, calibration=None)
    fair = _compared(served=served, fair_images=frozenset({"0"})).figures(CONFIG, calibration=None)
    assert everywhere.difference_to_served is not None
    assert fair.difference_to_served is not None
    assert everywhere.difference_to_served["box"]["iou"].mean == pytest.approx(0.7 - (0.6 + 0.9 + 0.9) / 3)
    assert fair.difference_to_served["box"]["iou"].mean == pytest.approx(0.1)


def test_after_a_first_version_a_gain_over_the_base_is_enough_where_nothing_is_lost() -> None:
    """The same as the first version, better than it by chance alone, or worse."""
    as_good, better = _compared(served=_measured(0.7)), _compared(served=_measured(0.8))
    assert not as_good.verdict(CONFIG).promote
    follows = replace(as_good, follows_first=True).verdict(CONFIG)
    assert follows.promote
    assert follows.reasons[0].startswith("IoU against the base: ")
    lost = replace(better, follows_first=True).verdict(CONFIG)
    assert not lost.promote
    assert any("worse than v1" in reason for reason in lost.reasons)


def test_a_fault_keeps_the_best_candidate_from_being_served() -> None:
    verdict = _compared(faults=("its weights are not finite",)).verdict(CONFIG)
    assert not verdict.promote
    assert verdict.reasons[0] == "its weights are not finite"


def test_a_calibrated_score_is_what_is_expected_times_the_stability_it_had() -> None:
    calibration = Calibration((0.0, 1.0), (0.0, 0.5))
    scored = _compared().rescore(calibration)
    # Half of the predicted .8 was score: the mask was half stable.
    assert [mask.score for mask in scored.candidate] == pytest.approx([0.4 * 0.5] * 6)
    assert {mask.score for mask in scored.base} == {0.4}
    assert _compared().rescore(None) == _compared()
    figures = scored.figures(CONFIG, calibration=calibration)
    assert figures.candidate is not None
    assert figures.candidate.calibration is not None
    assert figures.candidate.calibration.calibrated is not None
    assert figures.candidate.calibration.calibrated.ece == pytest.approx(0.7 - 0.4)


def test_predictions_are_pairs_of_what_was_said_and_what_was_had() -> None:
    said, had = predictions(_measured(0.5, images=1))
    assert said.tolist() == [0.8, 0.8]
    assert had.tolist() == [0.5, 0.5]
    assert predictions(())[0].shape == (0,)
