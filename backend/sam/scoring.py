"""Scores masks and tasks, in [0, 1]. A low score means that a person should look there first."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from backend.registry.calibration import Calibration
from backend.sam.frame import Frame
from backend.sam.layers.counting import count_set, to_countable

_STABILITY_OFFSET = 1.0
_SOFTNESS = 0.05


def expect_iou(predicted_iou: float, calibration: Calibration | None = None) -> float:
    """Return the IoU to expect for a predicted IoU.

    Args:
        predicted_iou: the output of the decoder's score head; may be below 0 or above 1.
        calibration: maps predicted IoUs to expected IoUs; None cuts the predicted IoU to [0, 1].

    Returns:
        The IoU to expect, in [0, 1].
    """
    return min(1.0, max(0.0, predicted_iou)) if calibration is None else calibration(predicted_iou)


def stabilities(logits: Float[Tensor, "n g g"], *, frame: Frame, height_px: int, width_px: int) -> Float[Tensor, " n"]:
    """Return how little every mask depends on the threshold of its logits.

    Kirillov et al., "Segment Anything" (2023), section 4, "Fully automatic stage". As segment-anything's
    `calculate_stability_score` with its offset of 1, but only over the cells that the image reaches.

    Args:
        logits: in the frame of the grid, above 0 on the object.
        frame: of the family whose decoder made the logits.
        height_px: of the upright image.
        width_px: of the upright image.

    Returns:
        The IoU of the masks at the thresholds +1 and -1, in [0, 1]; 0 if both are empty. Float64, on the logits'
        device.
    """
    rows, columns = frame.grid_reached(height_px, width_px)
    inside = to_countable(logits[:, :rows, :columns])
    inner, outer = count_set(inside > _STABILITY_OFFSET), count_set(inside > -_STABILITY_OFFSET)
    return inner.double() / outer.clamp(min=1)


def stability(logits: Float[Tensor, "g g"], *, frame: Frame, height_px: int, width_px: int) -> float:
    """As `stabilities`, for one mask; in [0, 1]."""
    return float(stabilities(logits[None], frame=frame, height_px=height_px, width_px=width_px))


def task_score(scores: Sequence[float]) -> float:
    """Return the score of a task: a soft minimum of its regions' scores.

    `-t log(mean(exp(-s / t)))` with t = 0.05. The result lies between the lowest score and the mean, and it rises with
    every score. One bad region among n good regions counts nearly as much as in a hard minimum: the result is higher by
    `t log n`, which is 0.12 for ten regions and 0.23 for a hundred. So a task with one bad region comes before a task
    that is mediocre throughout, as with a minimum. Of two tasks with equally bad regions, the task with more of them
    comes first, as with a mean.

    Args:
        scores: of the regions, in [0, 1].

    Returns:
        The task's score, in [0, 1]; 0 for a task without regions.
    """
    if not scores:
        return 0.0
    least = min(scores)
    share = math.fsum(math.exp((least - score) / _SOFTNESS) for score in scores) / len(scores)
    return min(1.0, max(0.0, least - _SOFTNESS * math.log(share)))
