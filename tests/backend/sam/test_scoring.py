"""Scores: low means look here first."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from backend.registry.calibration import Calibration
from backend.sam.frame import SAM_FRAME
from backend.sam.scoring import expect_iou, stability, task_score

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=50)
SLACK = 1e-9


@given(scores=SCORES)
@example(scores=[0.3] * 50)
def test_a_tasks_score_lies_between_the_least_and_the_mean_of_its_regions(scores: list[float]) -> None:
    assert min(scores) - SLACK <= task_score(scores) <= float(np.mean(scores)) + SLACK


@given(scores=SCORES, at=st.integers(0, 49), better=st.floats(0, 1))
def test_a_better_region_never_lowers_its_tasks_score(scores: list[float], at: int, better: float) -> None:
    raised = list(scores)
    raised[at % len(scores)] = max(better, raised[at % len(scores)])

    assert task_score(raised) >= task_score(scores) - SLACK


@given(score=st.floats(0, 1), times=st.integers(1, 20))
def test_regions_that_score_alike_give_their_own_score(score: float, times: int) -> None:
    assert task_score([score] * times) == pytest.approx(score, abs=SLACK)


def test_a_task_without_regions_scores_0() -> None:
    assert task_score([]) == 0.0


def test_one_bad_region_among_many_good_ones_comes_before_a_mediocre_task() -> None:
    assert task_score([0.2] + [0.95] * 20) < task_score([0.6] * 21)


def test_of_two_tasks_with_equally_bad_worst_regions_the_one_with_more_of_them_comes_first() -> None:
    assert task_score([0.2, 0.2, 0.9]) < task_score([0.2, 0.9, 0.9])


def test_stability_is_the_iou_of_the_masks_at_plus_and_minus_one() -> None:
    logits = torch.full((256, 256), -9.0)
    logits[10:20, 10:20] = 9.0
    logits[20:22, 10:20] = 0.5

    assert stability(logits, frame=SAM_FRAME, height_px=1024, width_px=1024) == pytest.approx(100 / 120)


def test_what_lies_outside_of_the_image_does_not_count_for_stability() -> None:
    logits = torch.full((256, 256), -9.0)
    logits[:10] = 9.0
    logits[128:] = 0.0

    assert stability(logits, frame=SAM_FRAME, height_px=512, width_px=1024) == 1.0


def test_a_mask_that_is_empty_at_both_thresholds_is_not_stable() -> None:
    assert stability(torch.full((256, 256), -9.0), frame=SAM_FRAME, height_px=10, width_px=10) == 0.0


@given(predicted=st.floats(-2, 3))
def test_without_a_calibration_a_predicted_iou_is_cut_to_0_to_1(predicted: float) -> None:
    assert expect_iou(predicted) == min(1.0, max(0.0, predicted))


def test_with_a_calibration_a_predicted_iou_is_what_was_measured_there() -> None:
    curve = Calibration((0.5, 1.0), (0.2, 0.8))

    assert [expect_iou(score, curve) for score in (0.0, 0.5, 0.75, 1.0, 1.2)] == pytest.approx(
        [0.2, 0.2, 0.5, 0.8, 0.8]
    )
