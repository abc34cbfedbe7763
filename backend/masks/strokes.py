"""Draws the strokes of a brush with a round tip.

Frame: pixels of the upright image; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float

from backend.masks.rasterize import fill_rings

_QUARTER = 16  # straight pieces of a quarter circle: within 0.2 % of the radius


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
        ValueError: a coordinate is not finite, or the outline is too long (`fill_rings`).
    """
    if not all(np.isfinite(stroke.points_px).all() for stroke in strokes):
        raise ValueError("a stroke's points must be finite")
    drawn = shapely.union_all([_outline(stroke) for stroke in strokes])
    rings = [
        shapely.get_coordinates(ring)[:-1]
        for part in shapely.get_parts(drawn)
        for ring in _rings(shapely.normalize(part))
    ]
    return fill_rings(rings, height_px=height_px, width_px=width_px)


def _outline(stroke: Stroke) -> shapely.Geometry:
    points = stroke.points_px
    if not len(points) or stroke.width_px <= 0:
        return shapely.Polygon()
    is_dot = bool((points == points[0]).all())
    line = shapely.Point(points[0]) if is_dot else shapely.LineString(points)
    return line.buffer(stroke.width_px / 2, quad_segs=_QUARTER)


def _rings(part: shapely.Geometry) -> list[shapely.Geometry]:
    """The outline of a part, and of every hole in it; normal form turns the two in opposite directions."""
    return [part.exterior, *part.interiors] if isinstance(part, shapely.Polygon) and not part.is_empty else []
