"""<Rectangle>, <RectangleLabels>: a corner and two sides in per cent of the image, turned about the corner."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from jaxtyping import Bool, Float

from backend.labelstudio.controls.frame import box_in_image, scale_px
from backend.labelstudio.controls.shape import Pointing, Shape, Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.bounds import find_bounds
from backend.masks.fit import without_specks
from backend.masks.rasterize import fill_polygon, rectangle_corners


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    return fill_polygon(_corners_px(value, size), height_px=size.height_px, width_px=size.width_px)


def _point(value: Value, size: Size, *, is_foreground: bool) -> Pointing:
    """Point by the box around the part that lies in the image; if the rectangle is turned, by its inside too."""
    del is_foreground  # a box always points at its inside
    inside = shapely.Polygon(_corners_px(value, size)).intersection(shapely.box(0, 0, size.width_px, size.height_px))
    is_turned = math.fmod(finite_number(value, "rotation", default=0.0), 90.0) != 0
    hull_xyxy = inside.bounds if inside.area else (0.0, 0.0, 0.0, 0.0)
    return Pointing(box=box_in_image(hull_xyxy, size=size, what="a rectangle"), has_outline=is_turned)


def _corners_px(value: Value, size: Size) -> Float[np.ndarray, "4 2"]:
    """The corners (x, y) in order, image px, also outside of the image. Older Label Studios left sides below 0."""
    x_px, y_px = scale_px(value, "x", "y", size=size)
    width_px, height_px = scale_px(value, "width", "height", size=size)
    return rectangle_corners(
        x_px=x_px,
        y_px=y_px,
        rectangle_width_px=width_px,
        rectangle_height_px=height_px,
        rotation_deg=finite_number(value, "rotation", default=0.0),
    )


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write the box around the mask without its specks."""
    del tolerance_px  # a rectangle does not follow the mask's outline
    height_px, width_px = mask.shape
    bounds = find_bounds(without_specks(mask))
    if bounds is None:
        return []
    return [
        {
            "x": bounds.x0_px * 100 / width_px,
            "y": bounds.y0_px * 100 / height_px,
            "width": bounds.width_px * 100 / width_px,
            "height": bounds.height_px * 100 / height_px,
            "rotation": 0,
        }
    ]


SHAPE = Shape(name="rectangle", field="height", read=_read, write=_write, point=_point, detail_rank=5, is_box=True)
