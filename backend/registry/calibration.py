"""What a predicted IoU is worth: the curve that a checkpoint carries for its scores."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Strict

from backend.errors import BadCheckpoint

_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising curve through the points (x, y), flat beyond its ends.

    `x` are predicted IoUs, strictly rising; `y` are the IoUs measured there, in [0, 1], never falling: what an isotonic
    regression gives (finetuner.measuring.calibration).

    Raises:
        BadCheckpoint: the points are no such curve.
    """

    x: tuple[Annotated[float, Strict()], ...]
    y: tuple[Annotated[float, Strict()], ...]

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
