"""Draws the strokes of a brush with a round tip.

Frame: pixels of the upright image; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from backend.masks.rasterize import fill_rings

MOST_POINTS = 50_000  # two seconds of work; and fewer pieces over one pixel than `fill_rings` counts
_QUARTER = 8  # straight pieces of a quarter circle: within 0.5 % of the radius


@dataclass(frozen=True, slots=True)
class Stroke:
    """A stroke through points (x, y), image px, which may lie outside of the image; at a single place it is a dot."""

    points_px: Float[np.ndarray, "n 2"]
    width_px: float


def fill_strokes(
    strokes: Sequence[Stroke], *, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Return the pixels whose centres lie under at least one stroke.

    Raises:
        ValueError: a coordinate is not finite, there are more than `MOST_POINTS` points, or the outlines are too long
            (`fill_rings`).
    """
    if (points := sum(len(stroke.points_px) for stroke in strokes)) > MOST_POINTS:
        raise ValueError(f"the strokes have {points} points; at most {MOST_POINTS} are allowed")
    if not all(np.isfinite(stroke.points_px).all() for stroke in strokes):
        raise ValueError("a stroke's points must be finite")
    rings = [ring for stroke in strokes for ring in _outlines(stroke)]
    return fill_rings(rings, height_px=height_px, width_px=width_px)


def _outlines(stroke: Stroke) -> list[Float[np.ndarray, "_ 2"]]:
    """The outline of every straight piece with its round ends, all in one direction, so that overlaps add nothing.

    Not that of the whole stroke: a scribble of a few thousand points crosses itself millions of times.
    """
    points, radius_px = stroke.points_px, stroke.width_px / 2
    if not len(points) or radius_px <= 0:
        return []
    moves = (points[1:] != points[:-1]).any(1)
    start, end = (points[:-1][moves], points[1:][moves]) if moves.any() else (points[:1], points[:1])
    along = np.arctan2(*(end - start).T[::-1])[:, None] + np.linspace(-np.pi / 2, np.pi / 2, 2 * _QUARTER + 1)
    tip = radius_px * np.stack([np.cos(along), np.sin(along)], axis=-1)
    return list(np.concatenate([end[:, None] + tip, start[:, None] - tip], axis=1))
