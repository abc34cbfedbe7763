"""Masks and brush strokes to points that stand for them."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from backend.masks.bounds import find_bounds, measure_depth
from backend.masks.prompt import Click

# A larger mask is looked at in about this many pixels: its points need no finer place.
_MOST_PIXELS = 1 << 18
_CORE = 0.5
_CLOSEST_PX = 2.0


def points_along(
    stroke: Bool[np.ndarray, "h w"], *, most: int, is_foreground: bool = True, apart_from: Sequence[Click] = ()
) -> tuple[Click, ...]:
    """Return up to `most` points of a mask, far from its edge and far from each other; none for an empty mask.

    The first point is the deepest. Of the pixels at least half as deep, every further point is the farthest from all
    points before it. A click in `apart_from` counts as an edge.

    Args:
        stroke: the mask, of the image's size.
        most: how many points at most, at least 1.
        is_foreground: what the clicks say.
        apart_from: clicks that the points keep away from.

    Returns:
        Clicks on centres of pixels of the mask, in px of the image that the stroke was drawn on.
    """
    bounds = find_bounds(stroke)
    if bounds is None:
        return ()
    left, top = bounds.x0_px, bounds.y0_px
    crop = stroke[bounds.slices]
    stride = max(1, math.ceil(math.sqrt(crop.size / _MOST_PIXELS)))
    # A pixel of the coarse mask is set if any pixel that it stands for is set: a thin stroke must not vanish.
    rows, columns = np.arange(0, crop.shape[0], stride), np.arange(0, crop.shape[1], stride)
    seen = np.logical_or.reduceat(np.logical_or.reduceat(crop, rows, axis=0), columns, axis=1)
    for click in apart_from:
        row, column = (int(click.y_px) - top) // stride, (int(click.x_px) - left) // stride
        if seen.sum() > 1 and 0 <= row < seen.shape[0] and 0 <= column < seen.shape[1]:
            seen[row, column] = False
    return tuple(
        Click(column + left + 0.5, row + top + 0.5, is_foreground)
        for row, column in (_inside(crop, row * stride, column * stride, stride) for row, column in _spread(seen, most))
    )


def _spread(seen: Bool[np.ndarray, "h w"], most: int) -> list[tuple[int, int]]:
    """Return rows and columns of deep pixels; every pixel is as far as can be from those before it."""
    depth = measure_depth(seen)
    core = np.argwhere(depth >= _CORE * depth.max())
    chosen = [int(depth[tuple(core.T)].argmax())]
    distance = np.hypot(*(core - core[chosen[0]]).T)
    while len(chosen) < most and distance.max() > _CLOSEST_PX:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.hypot(*(core - core[chosen[-1]]).T))
    return [(int(row), int(column)) for row, column in core[chosen]]


def _inside(crop: Bool[np.ndarray, "h w"], row: int, column: int, stride: int) -> tuple[int, int]:
    """Return the row and column of the stroke's first pixel in a block of `stride` by `stride`."""
    block = crop[row : row + stride, column : column + stride]
    down, right = np.unravel_index(int(block.argmax()), block.shape)
    return row + int(down), column + int(right)
