"""Scores in [0, 1], of masks and of tasks; low means: look here first."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from backend.registry.calibration import Calibration
from backend.sam.frame import Frame

_STABILITY_OFFSET = 1.0
_SOFTNESS = 0.05


def expected_iou(predicted_iou: float, calibration: Calibration | None = None) -> float:
    """What a predicted IoU is worth, in [0, 1]: by the calibration where there is one, else as it is, cut off."""
    return min(1.0, max(0.0, predicted_iou)) if calibration is None else calibration(predicted_iou)


def stability(logits: Float[Tensor, "g g"], *, frame: Frame, height_px: int, width_px: int) -> float:
    """IoU of the masks at thresholds +1 and -1 within the image, in [0, 1]; 0 if both are empty.

    segment-anything's `calculate_stability_score`.
    """
    rows, columns = frame.grid_reached(height_px, width_px)
    inside = logits[:rows, :columns]
    inner = int((inside > _STABILITY_OFFSET).sum())
    outer = int((inside > -_STABILITY_OFFSET).sum())
    return inner / outer if outer else 0.0


def task_score(scores: Sequence[float]) -> float:
    """Return a task's score: a soft minimum over its regions' scores in [0, 1]; 0 for a task without regions.

    `-t log(mean(exp(-s / t)))` with t = 0.05: never below the least, never above the mean, rises with every score, and
    is the score itself where there is one. One bad region among n good ones costs all but `t log n` of what the hard
    minimum would: 0.12 of ten, 0.23 of a hundred. So a task with one bad region comes before a task that is mediocre
    throughout, as with a minimum, and of two tasks with equally bad worst regions the one with more of them comes
    first, as with a mean.
    """
    if not scores:
        return 0.0
    least = min(scores)
    share = math.fsum(math.exp((least - each) / _SOFTNESS) for each in scores) / len(scores)
    return min(1.0, max(0.0, least - _SOFTNESS * math.log(share)))
