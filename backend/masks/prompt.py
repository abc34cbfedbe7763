"""What a person points at, in pixels of the upright image (EXIF rotation applied), origin at its top left corner."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, slots=True)
class Click:
    """One point. `x_px` in [0, width], `y_px` in [0, height]."""

    x_px: float
    y_px: float
    is_foreground: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle with `x0_px <= x1_px` and `y0_px <= y1_px`."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that points at ONE object: any number of clicks, at most one box, and at most one mask. Never empty.

    `mask` is a mask of the object that exists already, of the image's size: clicks and box refine it. It takes no part
    in comparisons.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    mask: Bool[np.ndarray, "h w"] | None = field(default=None, repr=False, compare=False)
