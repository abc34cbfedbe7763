"""Where a mask lies: its bounding box, and the point deepest inside it.

Frame: rows and columns of the array, which for a mask of an image are pixels of the upright image. Pixel (row, column)
covers [column, column + 1) x [row, row + 1) and has its centre at (column + 0.5, row + 0.5).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from backend.masks.prompt import Box, Click


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Rows `y0_px` to `y1_px` and columns `x0_px` to `x1_px` of an array, the last ones exclusive; never empty."""

    y0_px: int
    x0_px: int
    y1_px: int
    x1_px: int

    @property
    def height_px(self) -> int:
        """How many rows there are, at least 1."""
        return self.y1_px - self.y0_px

    @property
    def width_px(self) -> int:
        """How many columns there are, at least 1."""
        return self.x1_px - self.x0_px

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and the columns, to index an array with: `mask[bounds.slices]`."""
        return slice(self.y0_px, self.y1_px), slice(self.x0_px, self.x1_px)

    @property
    def box(self) -> Box:
        """The outer edges of the outermost pixels, in px: the box of a single pixel has sides of 1."""
        return Box(float(self.x0_px), float(self.y0_px), float(self.x1_px), float(self.y1_px))

    def join(self, other: "Bounds") -> "Bounds":
        """Return the smallest bounds that hold both."""
        return Bounds(
            y0_px=min(self.y0_px, other.y0_px),
            x0_px=min(self.x0_px, other.x0_px),
            y1_px=max(self.y1_px, other.y1_px),
            x1_px=max(self.x1_px, other.x1_px),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPixel:
    """A pixel of a mask, and how far its centre is from the nearest centre outside the mask: at least 1 px."""

    row: int
    column: int
    depth_px: float

    @property
    def centre(self) -> Click:
        """A positive click on the pixel's centre, in px."""
        return Click(self.column + 0.5, self.row + 0.5)


def find_bounds(mask: Bool[np.ndarray, "h w"]) -> Bounds | None:
    """Return the smallest bounds that hold every True pixel; None for an empty mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return Bounds(y0_px=top, x0_px=int(columns[0]), y1_px=bottom, x1_px=int(columns[-1]) + 1)


def measure_depth(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the distance of every pixel's centre to the nearest centre outside the mask, in px, float64; 0 outside.

    Whatever lies beyond the array counts as outside, so an image's border is an edge of the mask.
    """
    depth_px: Float[np.ndarray, "h w"] = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth_px


def find_deepest_pixel(mask: Bool[np.ndarray, "h w"]) -> DeepPixel | None:
    """Return the pixel farthest from the mask's edge, of equals the first row by row; None for an empty mask."""
    bounds = find_bounds(mask)
    if bounds is None:
        return None
    # The mask has no pixel beyond its bounds, so that the nearest centre outside it is never farther than one beyond
    # them in the same row or column: a small object in a large image takes no longer than alone.
    depth_px = measure_depth(mask[bounds.slices])
    row, column = divmod(int(depth_px.argmax()), bounds.width_px)
    return DeepPixel(row=bounds.y0_px + row, column=bounds.x0_px + column, depth_px=float(depth_px[row, column]))
