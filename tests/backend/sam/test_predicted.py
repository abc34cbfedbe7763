"""What a predictor answers: when an object is absent, and which of two candidates scores higher."""

import numpy as np
import pytest
import torch

from backend.sam.predicted import Candidate, PredictedMask


def mask_with(object_score: float | None) -> PredictedMask:
    logits = np.zeros((4, 4), np.float32)
    return PredictedMask(
        mask=np.zeros((2, 2), np.bool_), score=0.5, low_res_logits=logits, predicted_iou=0.5, object_score=object_score
    )


@pytest.mark.parametrize(("object_score", "is_absent"), [(None, False), (0.1, False), (0.0, True), (-3.0, True)])
def test_only_a_family_that_scores_objects_says_that_one_is_absent(object_score: float | None, is_absent: bool) -> None:
    assert mask_with(object_score).is_absent is is_absent


@pytest.mark.parametrize(
    ("predicted_iou", "stability", "score"),
    [(0.8, 0.5, 0.4), (1.3, 0.5, 0.5), (-0.2, 1.0, 0.0), (0.9, 0.0, 0.0)],
    ids=["both count", "at most 1", "at least 0", "an absent object"],
)
def test_a_candidate_scores_by_its_predicted_iou_and_its_stability(
    predicted_iou: float, stability: float, score: float
) -> None:
    candidate = Candidate(torch.zeros(4, 4), predicted_iou, stability)
    assert candidate.score == pytest.approx(score)
