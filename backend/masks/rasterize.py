"""Shapes to masks, without antialiasing: a pixel is inside where its centre is.

Frame: pixels of the upright image; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int16

# Crossings worked on at once: bounds memory for polygons of very many points.
_CHUNK = 1 << 20
# Half a second's work. An outline that crosses more rows is longer than any that a person draws: on 12 megapixels it
# would pass through two pixels of three.
MOST_CROSSINGS = 1 << 23


def fill_polygon(
    points_px: Float[np.ndarray, "n 2"], *, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Fill the closed polygon through `points_px` (x, y); what lies outside the image is cut off.

    Inside is what the outline goes around, as browsers fill it (nonzero rule): where an outline crosses itself, what it
    encloses twice in the same direction is inside. Fewer than 3 points give an empty mask. Time grows with the
    polygon's height in pixels, not with its area times its points: every edge counts, in a row that it crosses, for all
    pixels to the right of the crossing, upwards against downwards.

    Args:
        points_px: corners in px of the image; they may lie outside it.
        height_px: the image's height.
        width_px: the image's width.

    Raises:
        ValueError: a coordinate is not finite, or the edges cross more than `MOST_CROSSINGS` rows in all.
    """
    return fill_rings([points_px], height_px=height_px, width_px=width_px)


def fill_rings(
    rings_px: Sequence[Float[np.ndarray, "_ 2"]], *, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Fill closed polygons as one, as `fill_polygon` does: a ring within another, and of its direction, adds nothing.

    A ring of the opposite direction is a hole. Rings of fewer than 3 points count for nothing.
    """
    if not all(np.isfinite(ring).all() for ring in rings_px):
        raise ValueError("a polygon's points must be finite")
    mask = np.zeros((height_px, width_px), np.bool_)
    rings = [ring.astype(np.float64) for ring in rings_px if len(ring) >= 3]
    if not rings:
        return mask
    start, end = np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # Rows whose centre line an edge crosses: y0 <= row + 0.5 < y1, half open so that a vertex counts once.
    top = _row(np.minimum(start[:, 1], end[:, 1]), height_px)
    bottom = _row(np.maximum(start[:, 1], end[:, 1]), height_px)
    if (crossings := int((bottom - top).sum())) > MOST_CROSSINGS:
        raise ValueError(f"the polygon's edges cross {crossings} rows; at most {MOST_CROSSINGS} are allowed")
    y0, y1 = int(top.min()), int(bottom.max())
    x0, x1 = (int(x) for x in _row(np.array([start[:, 0].min(), start[:, 0].max()]), width_px))
    # How often the outlines go around a pixel: one of them at most a third of its points, so 16 bits never wrap to 0.
    winding = np.zeros((y1 - y0, x1 - x0 + 1), np.int16)
    for first, last in _chunks(bottom - top):
        row, column, direction = _cross(start[first:last], end[first:last], top[first:last], bottom[first:last])
        column = np.clip(column, x0, x1) - x0
        np.add.at(winding.ravel(), (row - y0) * winding.shape[1] + column, direction)
    np.add.accumulate(winding, axis=1, out=winding)
    mask[y0:y1, x0:x1] = winding[:, :-1] != 0
    return mask


def fill_ellipse(  # noqa: PLR0913 - an ellipse has that many numbers, all by name
    *,
    center_x_px: float,
    center_y_px: float,
    radius_x_px: float,
    radius_y_px: float,
    rotation_deg: float = 0.0,
    height_px: int,
    width_px: int,
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Fill an ellipse turned clockwise (y points down) about its centre by `rotation_deg`.

    A radius of 0 gives an empty mask. Lengths are in px of the image, of `height_px` x `width_px`.
    """
    mask = np.zeros((height_px, width_px), np.bool_)
    if radius_x_px <= 0 or radius_y_px <= 0:
        return mask
    turn = math.radians(math.fmod(rotation_deg, 360.0))
    cosine, sine = math.cos(turn), math.sin(turn)
    reach_x, reach_y = (
        math.hypot(radius_x_px * cosine, radius_y_px * sine),
        math.hypot(radius_x_px * sine, radius_y_px * cosine),
    )
    x0, x1 = _span(center_x_px, reach_x, width_px)
    y0, y1 = _span(center_y_px, reach_y, height_px)
    x = np.arange(x0, x1)[None, :] + 0.5 - center_x_px
    y = np.arange(y0, y1)[:, None] + 0.5 - center_y_px
    along, across = (x * cosine + y * sine) / radius_x_px, (y * cosine - x * sine) / radius_y_px
    mask[y0:y1, x0:x1] = along**2 + across**2 <= 1
    return mask


def fill_rectangle(  # noqa: PLR0913 - a rectangle has that many numbers, all by name
    *,
    x_px: float,
    y_px: float,
    rectangle_width_px: float,
    rectangle_height_px: float,
    rotation_deg: float = 0.0,
    height_px: int,
    width_px: int,
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Fill a rectangle turned clockwise (y points down) about its top left corner (x, y), as Label Studio turns it.

    Lengths are in px of the image, of `height_px` x `width_px`.
    """
    corners_px = rectangle_corners(
        x_px=x_px,
        y_px=y_px,
        rectangle_width_px=rectangle_width_px,
        rectangle_height_px=rectangle_height_px,
        rotation_deg=rotation_deg,
    )
    return fill_polygon(corners_px, height_px=height_px, width_px=width_px)


def rectangle_corners(
    *, x_px: float, y_px: float, rectangle_width_px: float, rectangle_height_px: float, rotation_deg: float = 0.0
) -> Float[np.ndarray, "4 2"]:
    """Return the corners (x, y) in px of a rectangle turned clockwise (y points down) about its corner (x, y).

    The first is that corner. A side below 0 runs to the other side of it.
    """
    turn = math.radians(math.fmod(rotation_deg, 360.0))
    along = rectangle_width_px * np.array([math.cos(turn), math.sin(turn)])
    down = rectangle_height_px * np.array([-math.sin(turn), math.cos(turn)])
    corner = np.array([x_px, y_px], np.float64)
    return np.stack([corner, corner + along, corner + along + down, corner + down])


def _row(y_px: Float[np.ndarray, " n"], height_px: int) -> Int[np.ndarray, " n"]:
    """Return the first row whose centre line is not above y."""
    return np.clip(np.ceil(y_px - 0.5), 0, height_px).astype(np.int64)


def _chunks(crossings: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Return ranges of edges, first and one past the last, with about `_CHUNK` crossings a range."""
    group = np.cumsum(crossings) // _CHUNK
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(group)) + 1, [len(crossings)]))
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]


def _cross(
    start: Float[np.ndarray, "n 2"],
    end: Float[np.ndarray, "n 2"],
    top: Int[np.ndarray, " n"],
    bottom: Int[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " crossings"], Int[np.ndarray, " crossings"], Int16[np.ndarray, " crossings"]]:
    """Return where edges cross the centre lines of rows: row, first column not left of it, 1 downwards, -1 upwards."""
    rows = bottom - top
    edge = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(int(rows.sum())) - np.repeat(np.cumsum(rows) - rows, rows) + top[edge]
    slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
    crossing_px = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope
    direction = np.where(end[:, 1] > start[:, 1], 1, -1).astype(np.int16)
    return row, np.ceil(crossing_px - 0.5).astype(np.int64), direction[edge]


def _span(center_px: float, reach_px: float, size_px: int) -> tuple[int, int]:
    """Return the first and one past the last pixel that `reach_px` to both sides of the centre touches."""
    low = min(max(center_px - reach_px, 0.0), float(size_px))
    high = min(max(center_px + reach_px, 0.0), float(size_px))
    return math.floor(low), math.ceil(high)
