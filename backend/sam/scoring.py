"""Scores in [0, 1], of masks and of tasks; low means: look here first."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from backend.registry.calibration import Calibration
from backend.sam.frame import Frame

_STABILITY_OFFSET = 1.0
_SOFTNESS = 0.05


def expect_iou(predicted_iou: float, calibration: Calibration | None = None) -> float:
    """What a predicted IoU is worth.

    Args:
        predicted_iou: what the decoder's score head says; it may be below 0 or above 1.
        calibration: where there is one, it says. None: the number itself counts, cut off at 0 and 1.

    Returns:
        The IoU to expect, in [0, 1].
    """
    return min(1.0, max(0.0, predicted_iou)) if calibration is None else calibration(predicted_iou)


def stabilities(logits: Float[Tensor, "n g g"], *, frame: Frame, height_px: int, width_px: int) -> Float[Tensor, " n"]:
    """How little every mask depends on where its logits are cut.

    Kirillov et al., "Segment Anything" (2023), section 4, "Fully automatic stage"; segment-anything's
    `calculate_stability_score`, with its offset of 1 and within the image alone.

    Args:
        logits: in the frame of the grid, above 0 on the object.
        frame: of the family whose decoder made them.
        height_px: of the upright image.
        width_px: of the upright image.

    Returns:
        IoU of the masks at the thresholds +1 and -1, in [0, 1]; 0 if both are empty. Float64, on the logits' device.
    """
    rows, columns = frame.grid_reached(height_px, width_px)
    inside = logits[:, :rows, :columns]
    inner = (inside > _STABILITY_OFFSET).sum((1, 2)).double()
    outer = (inside > -_STABILITY_OFFSET).sum((1, 2))
    return inner / outer.clamp(min=1)


def stability(logits: Float[Tensor, "g g"], *, frame: Frame, height_px: int, width_px: int) -> float:
    """Return the stability of one mask: `stabilities`."""
    return float(stabilities(logits[None], frame=frame, height_px=height_px, width_px=width_px))


def task_score(scores: Sequence[float]) -> float:
    """Return the score of a task: a soft minimum of its regions' scores.

    `-t log(mean(exp(-s / t)))` with t = 0.05. The result is never below the least score and never above their mean; it
    rises with every score, and a single score is its own result. One bad region among n good ones counts nearly as
    much as in a hard minimum: `t log n` less, which is 0.12 for ten regions and 0.23 for a hundred. So a task with one
    bad region comes before a task that is mediocre throughout, as with a minimum; and of two tasks whose worst regions
    are equally bad, the task with more such regions comes first, as with a mean.

    Args:
        scores: of the regions, in [0, 1].

    Returns:
        In [0, 1]; 0 for a task without regions.
    """
    if not scores:
        return 0.0
    least = min(scores)
    share = math.fsum(math.exp((least - score) / _SOFTNESS) for score in scores) / len(scores)
    return min(1.0, max(0.0, least - _SOFTNESS * math.log(share)))
