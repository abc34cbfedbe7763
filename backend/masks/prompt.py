"""What a person points at, in pixels of the upright image (EXIF rotation applied), origin at its top left corner."""

from dataclasses import dataclass


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
    """All that points at ONE object: any number of clicks, and at most one box. Never empty."""

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
