"""<Ellipse>, <EllipseLabels>: centre and radii in per cent of the image, turned about the centre."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import BadInput
from backend.labelstudio.controls.frame import box_in_image, scale_px
from backend.labelstudio.controls.shape import Pointing, Shape, Size, Value
from backend.labelstudio.values import finite_number
from backend.masks.fit import ellipse_of_mask, without_specks
from backend.masks.rasterize import fill_ellipse


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    center_x_px, center_y_px = scale_px(value, "x", "y", size=size)
    radius_x_px, radius_y_px = scale_px(value, "radiusX", "radiusY", size=size)
    return fill_ellipse(
        center_x_px=center_x_px,
        center_y_px=center_y_px,
        # A drag to the left or upwards may leave a radius below 0.
        radius_x_px=abs(radius_x_px),
        radius_y_px=abs(radius_y_px),
        rotation_deg=finite_number(value, "rotation", default=0.0),
        height_px=size.height_px,
        width_px=size.width_px,
    )


def _point(value: Value, size: Size, *, is_foreground: bool) -> Pointing:
    """Point by the box around it and by its inside: on real objects, both give better masks than the box alone."""
    del is_foreground  # a box always points at its inside
    x_px, y_px = scale_px(value, "x", "y", size=size)
    along_px, across_px = scale_px(value, "radiusX", "radiusY", size=size)
    turn = math.radians(math.fmod(finite_number(value, "rotation", default=0.0), 360.0))
    reach_x_px = math.hypot(along_px * math.cos(turn), across_px * math.sin(turn))
    reach_y_px = math.hypot(along_px * math.sin(turn), across_px * math.cos(turn))
    if along_px == 0 or across_px == 0:
        raise BadInput("an ellipse has a radius of 0; draw it again")
    hull = x_px - reach_x_px, y_px - reach_y_px, x_px + reach_x_px, y_px + reach_y_px
    return Pointing(box=box_in_image(hull, size=size, what="an ellipse"), has_outline=True)


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write the ellipse with the area and the spread of the mask without its specks."""
    del tolerance_px  # an ellipse does not follow the mask's outline
    height_px, width_px = mask.shape
    ellipse = ellipse_of_mask(without_specks(mask))
    if ellipse is None:
        return []
    # Every radius is in per cent of the side along which it lies at rotation 0, however far the ellipse is turned.
    return [
        {
            "x": ellipse.center_x_px * 100 / width_px,
            "y": ellipse.center_y_px * 100 / height_px,
            "radiusX": ellipse.radius_x_px * 100 / width_px,
            "radiusY": ellipse.radius_y_px * 100 / height_px,
            "rotation": ellipse.rotation_deg % 360.0,
        }
    ]


SHAPE = Shape(name="ellipse", field="radiusX", read=_read, write=_write, point=_point, detail_rank=4)
