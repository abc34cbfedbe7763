"""Scores in [0, 1], of masks and of tasks; low means: look here first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from backend.errors import BadCheckpoint
from backend.sam.frame import Frame

CALIBRATION = "calibration"
_MOST_STEPS = 10_000
_STABILITY_OFFSET = 1.0
_SOFTNESS = 0.05


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a predicted IoU is worth: a rising curve through (x, y), flat beyond its ends.

    `x` are predicted IoUs, rising; `y` the IoUs that were measured there, in [0, 1], never falling: what an isotonic
    regression gives (finetuner.measuring.calibration). A checkpoint carries it as `manifest.metrics["calibration"]`,
    the object `{"x": [...], "y": [...]}`; this class is the one place that knows this.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.x) == len(self.y) <= _MOST_STEPS:
            raise BadCheckpoint(
                f"a calibration has {len(self.x)} x and {len(self.y)} y: it needs as many of both, 1 to {_MOST_STEPS}"
            )
        if not all(map(math.isfinite, (*self.x, *self.y))) or not 0 <= min(self.y) <= max(self.y) <= 1:
            raise BadCheckpoint("a calibration's numbers must be finite, and its y in [0, 1]")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any():
            raise BadCheckpoint("a calibration's x must rise, and its y must not fall")

    def __call__(self, predicted_iou: float) -> float:
        """The IoU to expect, in [0, 1]."""
        return float(np.interp(predicted_iou, self.x, self.y))

    def to_json(self) -> dict[str, list[float]]:
        """What `calibration_of` reads."""
        return {"x": list(self.x), "y": list(self.y)}


def calibration_of(metrics: Mapping[str, Any]) -> Calibration | None:
    """Read the calibration in a manifest's metrics; None where there is none.

    Raises:
        BadCheckpoint: there is one, and it is no such curve.
    """
    told = metrics.get(CALIBRATION)
    if told is None:
        return None
    lists = (told.get("x"), told.get("y")) if isinstance(told, Mapping) else (None, None)
    x, y = (_numbers(each) for each in lists)
    return Calibration(x, y)


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


def _numbers(values: object) -> tuple[float, ...]:
    if not isinstance(values, list) or not all(type(each) in {int, float} for each in values):
        raise BadCheckpoint('a calibration is {"x": [numbers], "y": [numbers]}; this one is not')
    return tuple(float(each) for each in values)
