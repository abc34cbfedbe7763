"""<Polygon>, <PolygonLabels>: an outline in per cent of the image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.polygons import polygons_of_mask
from backend.masks.rasterize import fill_polygon

MOST_POINTS = 100_000


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    points = value.get("points")
    if value.get("closed") is False:
        raise UnusableRegion("its polygon is not closed")
    if not isinstance(points, list) or not 3 <= len(points) <= MOST_POINTS:
        raise UnusableRegion(f"its polygon is not a list of 3 to {MOST_POINTS} points")
    scale = size.width_px / 100, size.height_px / 100
    try:
        return fill_polygon(_points(points) * scale, height_px=size.height_px, width_px=size.width_px)
    except ValueError as fault:  # its outline is too long
        raise UnusableRegion(str(fault)) from fault


def _points(points: list[Any]) -> Float[np.ndarray, "n 2"]:
    """The points (x, y), in per cent as in the JSON. Some programs write a point as {"x": 1, "y": 2}."""
    points = [[point.get("x"), point.get("y")] if isinstance(point, dict) else point for point in points]
    for point in points:
        if not isinstance(point, list) or len(point) < 2:
            raise UnusableRegion("its polygon holds something that is not a pair of numbers")
    # The editor passes over further numbers, such as a visibility.
    pairs = (finite_number({"x": x, "y": y}, axis) for x, y, *_ in points for axis in ("x", "y"))
    return np.fromiter(pairs, np.float64, 2 * len(points)).reshape(-1, 2)


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write one region for every connected part of the mask."""
    height_px, width_px = mask.shape
    outlines = polygons_of_mask(mask, tolerance_px=tolerance_px)
    return [{"points": (outline * (100 / width_px, 100 / height_px)).tolist(), "closed": True} for outline in outlines]


SHAPE = Shape(name="polygon", field="points", read=_read, write=_write, detail_rank=3, is_mask=True)
