"""Masks to polygons that a person can edit: few points, no holes, no crossings.

Frame: pixels of the upright image; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

import math

import numpy as np
import shapely
from jaxtyping import Bool, Float

from backend.masks.bounds import find_bounds
from backend.masks.tracing import trace

MOST_PARTS = 16
MOST_HOLES = 32
# Parts and holes under a hundredth of the largest part are specks that the decoder left.
_SMALLEST_SHARE = 0.01
# A larger crop is thinned out: every second (third, ...) row and column is looked at.
_MOST_PIXELS = 1 << 24
_SLIT_PX = 0.1
_SLITS_TRIED = 8


def polygons_of_mask(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> tuple[Float[np.ndarray, "n 2"], ...]:
    """Outline the mask's connected parts, the largest first: simple polygons of at least 3 points (x, y), not closed.

    No point of the mask's outline is farther than `tolerance_px` from its polygon's. With a tolerance of 0,
    `fill_polygon` gives the part again: every pixel's centre is on its own side of the outline. Label Studio's polygons
    have no holes, so a slit opens every hole to the outside. It is a tenth of a pixel wide, and no pixel's centre lies
    in it.

    Left out are parts and holes smaller than a hundredth of the largest part, parts beyond 16, and holes beyond 32 a
    part. An empty mask gives no polygon. The outline is a few pixels coarse where the mask's bounding box has more than
    16 million pixels.

    Args:
        mask: the mask, of the image's size.
        tolerance_px: how far the polygon may leave the mask's outline, at least 0.

    Returns:
        For every part its corners (x, y), float64, in px of the image.
    """
    parts = _parts(mask)
    if not parts:
        return ()
    areas = [float(part.area) for part in parts]
    smallest_px = _SMALLEST_SHARE * max(areas)
    order = sorted(range(len(parts)), key=lambda index: -areas[index])
    kept = [parts[index] for index in order[:MOST_PARTS] if areas[index] >= smallest_px]
    rings = [_open_outline(_simplify(_without_specks(part, smallest_px), tolerance_px)) for part in kept]
    return tuple(np.asarray(shapely.get_coordinates(ring.exterior)[:-1], np.float64) for ring in rings)


def _parts(mask: Bool[np.ndarray, "h w"]) -> list[shapely.Polygon]:
    """Return every connected part with its holes. Outlines run half-way between the centres inside and outside."""
    bounds = find_bounds(mask)
    if bounds is None:
        return []
    crop = mask[bounds.slices]
    stride = max(1, math.ceil(math.sqrt(crop.size / _MOST_PIXELS)))
    # One empty row and column all round, so that a mask at the image's border is outlined too.
    parts = trace(np.pad(crop[::stride, ::stride], 1))
    shift = np.array([bounds.x0_px, bounds.y0_px]) - stride
    return list(shapely.transform(parts, lambda points: points * stride + shift))


def _without_specks(part: shapely.Polygon, smallest_px: float) -> shapely.Polygon:
    holes = [(shapely.Polygon(ring).area, ring) for ring in part.interiors]
    largest = sorted(holes, key=lambda hole: -hole[0])[:MOST_HOLES]
    return shapely.Polygon(part.exterior, [ring for area, ring in largest if area >= smallest_px])


def _simplify(part: shapely.Polygon, tolerance_px: float) -> shapely.Polygon:
    """Return the part with fewer points; with more of them where it would cross itself or vanish."""
    for tolerance in (tolerance_px, tolerance_px / 2, tolerance_px / 4):
        simple = part.simplify(tolerance, preserve_topology=True)
        if isinstance(simple, shapely.Polygon) and simple.is_valid and not simple.is_empty:
            return simple
    return part


def _open_outline(part: shapely.Polygon) -> shapely.Polygon:
    """Cut slits until the part has no hole; a hole that no slit opens is filled."""
    while part.interiors:
        cut = _slit(part)
        opened = _largest(part.difference(cut)) if cut is not None else part
        fewer = len(opened.interiors) < len(part.interiors)
        part = opened if fewer else shapely.Polygon(part.exterior, part.interiors[1:])
    return part


def _slit(part: shapely.Polygon) -> shapely.Polygon | None:
    """Return the shortest upright or level way from the first hole to another ring, through no pixel's centre."""
    hole = part.interiors[0]
    left, top, right, bottom = part.bounds
    x0, y0, x1, y1 = hole.bounds
    upright = [((x, top - 1), (x, bottom + 1)) for x in _between_centres(x0, x1)]
    level = [((left - 1, y), (right + 1, y)) for y in _between_centres(y0, y1)]
    crossed = shapely.intersection(part, shapely.linestrings(np.array(upright + level)))
    ways = [way for way in shapely.get_parts(crossed) if isinstance(way, shapely.LineString) and _leaves(way, hole)]
    shortest = min(ways, key=lambda way: float(way.length), default=None)
    return None if shortest is None else shortest.buffer(_SLIT_PX / 2, cap_style="square")


def _between_centres(low: float, high: float) -> list[float]:
    """Return a few numbers within (low, high), a quarter of a pixel off a pixel's edge."""
    firsts = np.unique(np.floor(np.linspace(low, high, _SLITS_TRIED + 2)[1:-1]))
    return [float(first) + quarter for first in firsts for quarter in (0.25, 0.75) if low < first + quarter < high]


def _leaves(way: shapely.LineString, hole: shapely.LinearRing) -> bool:
    """Whether exactly one end lies on the hole: with both there, the slit would cut a piece off."""
    ends = (shapely.Point(way.coords[0]), shapely.Point(way.coords[-1]))
    return sum(float(end.distance(hole)) < 1e-6 for end in ends) == 1


def _largest(shape: shapely.Geometry) -> shapely.Polygon:
    polygons = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    return max(polygons, key=lambda polygon: float(polygon.area))
