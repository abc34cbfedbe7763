"""<Vector>, <VectorLabels>: a line through points in per cent of the image. A closed line is the outline of a mask."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.rasterize import fill_polygon

MOST_VERTICES = 10_000
_STEPS = 16  # straight pieces of a curve: on 1,000 px they stay within a pixel of it
_REACH = 0.3  # how far the editor sets a missing control point from its vertex, as a share of the straight line

Point = Float[np.ndarray, "2"]


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    """Fill a closed line, its Bezier curves as Label Studio 1.23.2's editor draws them (VectorShape.tsx)."""
    if value.get("closed") is not True:
        raise UnusableRegion("its vector is an open line, not a mask")
    vertices = value.get("vertices")
    if not isinstance(vertices, list) or not 3 <= len(vertices) <= MOST_VERTICES:
        raise UnusableRegion(f"its vector is not a list of 3 to {MOST_VERTICES} vertices")
    if not all(isinstance(vertex, Mapping) for vertex in vertices):
        raise UnusableRegion("its vector holds something that is not a vertex")
    path = _order(vertices)
    outline = np.concatenate([_trace(*ends) for ends in zip(path, [*path[1:], path[0]], strict=True)])
    try:
        return fill_polygon(
            outline * (size.width_px / 100, size.height_px / 100), height_px=size.height_px, width_px=size.width_px
        )
    except ValueError as fault:  # its outline is too long
        raise UnusableRegion(str(fault)) from fault


def _order(vertices: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the vertices along the line, by `prevPointId`; as they are listed, where these ids make no single line."""
    after = {str(vertex.get("prevPointId")): vertex for vertex in vertices}
    ids = {str(vertex.get("id")) for vertex in vertices}
    first = next((vertex for vertex in vertices if str(vertex.get("prevPointId")) not in ids), vertices[0])
    path = list(_follow(after, first, most=len(vertices)))
    return path if len(path) == len(ids) == len(vertices) else vertices


def _follow(
    after: Mapping[str, Mapping[str, Any]], first: Mapping[str, Any], *, most: int
) -> Iterator[Mapping[str, Any]]:
    here: Mapping[str, Any] | None = first
    for _ in range(most):
        if here is None:
            return
        yield here
        here = after.get(str(here.get("id")))


def _trace(start: Mapping[str, Any], end: Mapping[str, Any]) -> Float[np.ndarray, "n 2"]:
    """Return the points from a vertex up to the next vertex, which is left out; a straight line has one point."""
    here, there = _point(start), _point(end)
    leaving, arriving = _control(start, "controlPoint2"), _control(end, "controlPoint1")
    if leaving is None and arriving is None:
        return here[None]
    leaving = here + _REACH * (there - here) if leaving is None else leaving
    arriving = there - _REACH * (there - here) if arriving is None else arriving
    t = np.linspace(0, 1, _STEPS, endpoint=False)[:, None]
    curve: Float[np.ndarray, "n 2"] = (
        (1 - t) ** 3 * here + 3 * (1 - t) ** 2 * t * leaving + 3 * (1 - t) * t**2 * arriving + t**3 * there
    )
    return curve


def _control(vertex: Mapping[str, Any], key: str) -> Point | None:
    point = vertex.get(key)
    return _point(point) if vertex.get("isBezier") and isinstance(point, Mapping) else None


def _point(place: Mapping[str, Any]) -> Point:
    return np.array([finite_number(place, "x"), finite_number(place, "y")], np.float64)


SHAPE = Shape(name="vector", field="vertices", read=_read)
