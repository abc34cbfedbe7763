"""<Rectangle>, <RectangleLabels>: a corner and two sides in per cent of the image, turned about the corner."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.labelstudio.controls.frame import box_in_image, lengths_px, place_px
from backend.labelstudio.controls.shape import Pointing, Shape, Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.bounds import find_bounds
from backend.masks.fit import without_specks
from backend.masks.rasterize import fill_rectangle


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    return fill_rectangle(
        x_px=finite_number(value, "x") * size.width_px / 100,
        y_px=finite_number(value, "y") * size.height_px / 100,
        rectangle_width_px=finite_number(value, "width") * size.width_px / 100,
        rectangle_height_px=finite_number(value, "height") * size.height_px / 100,
        rotation_deg=finite_number(value, "rotation", default=0.0),
        height_px=size.height_px,
        width_px=size.width_px,
    )


def _point(value: Value, size: Size, *, is_foreground: bool) -> Pointing:
    """The box around it; of one that is turned its inside too, a first guess of the mask."""
    del is_foreground  # a box is always about what is in it
    x_px, y_px = place_px(value, size)
    right_px, down_px = lengths_px(value, "width", "height", size=size, what="rectangle")
    rotation_deg = math.fmod(finite_number(value, "rotation", default=0.0), 360.0)
    turn = math.radians(rotation_deg)
    corners = [
        (x_px + a * math.cos(turn) - b * math.sin(turn), y_px + a * math.sin(turn) + b * math.cos(turn))
        for a, b in ((0.0, 0.0), (right_px, 0.0), (0.0, down_px), (right_px, down_px))
    ]
    xs, ys = zip(*corners, strict=True)
    box = box_in_image((min(xs), min(ys), max(xs), max(ys)), size=size, what="a rectangle")
    return Pointing(box=box, has_outline=math.fmod(rotation_deg, 90.0) != 0)


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """The box around the mask, without specks."""
    del tolerance_px  # has no outline of its own
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
