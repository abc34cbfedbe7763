"""A checkpoint's calibration: the curve from predicted IoUs to the IoUs to expect."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Strict

from backend.errors import BadCheckpoint

_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve through the points (x, y) that never falls, and is flat beyond its ends.

    An isotonic regression makes it (finetuner.measuring.calibration).

    Attributes:
        x: predicted IoUs, strictly rising.
        y: the IoUs measured there, in [0, 1], never falling.

    Raises:
        BadCheckpoint: the points break one of these rules.
    """

    x: tuple[Annotated[float, Strict()], ...]
    y: tuple[Annotated[float, Strict()], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.x) == len(self.y) <= _MOST_STEPS:
            raise BadCheckpoint(
                f"a calibration has {len(self.x)} x and {len(self.y)} y: it needs 1 to {_MOST_STEPS} of both"
            )
        if not all(map(math.isfinite, (*self.x, *self.y))) or not 0 <= min(self.y) <= max(self.y) <= 1:
            raise BadCheckpoint("a calibration's numbers must be finite, and its y in [0, 1]")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any():
            raise BadCheckpoint("a calibration's x must rise, and its y must not fall")

    def __call__(self, predicted_iou: float) -> float:
        """Return the IoU to expect, in [0, 1]."""
        return float(np.interp(predicted_iou, self.x, self.y))
