"""What annotators drew: from a region of an annotation to a mask."""

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from backend.errors import BadInput
from backend.labelstudio.rle import decode_mask
from backend.labelstudio.values import finite_number
from backend.masks.rasterize import fill_ellipse, fill_polygon, fill_rectangle

MOST_POINTS = 100_000
_DATA_URL = "data:image/png;base64,"


class UnusableRegion(BadInput):
    """A region that is no mask of this image; `reason` says why, fit for a report of what was left out."""

    @property
    def reason(self) -> str:
        """Why, in one clause."""
        return str(self)


def mask_of_region(
    region: object, *, height_px: int, width_px: int, rectangles_are_masks: bool = False
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Return the mask of a brush, polygon, ellipse or bitmask region, and of a rectangle if asked. It may be empty.

    Frame: the upright image of `height_px` by `width_px`.

    Raises:
        UnusableRegion: another kind (keypoints were prompts), a size that is not the image's, a rotated canvas, or
            values that cannot be read.
    """
    if not isinstance(region, Mapping) or not isinstance(region.get("value"), Mapping):
        raise UnusableRegion("it has no value")
    kind = str(region.get("type")).removesuffix("labels")
    if kind == "rectangle" and not rectangles_are_masks:
        raise UnusableRegion("a rectangle is a box, not a mask")
    reader = _READERS.get(kind)
    if reader is None:
        raise UnusableRegion(f"a region of type {str(region.get('type'))[:40]} is no mask")
    _check_frame(region, height_px=height_px, width_px=width_px)
    try:
        return reader(region["value"], height_px, width_px)
    except UnusableRegion:
        raise
    except BadInput as fault:
        raise UnusableRegion(str(fault)) from fault


def _check_frame(region: Mapping[str, Any], *, height_px: int, width_px: int) -> None:
    """A wrong size scrambles a brush mask; a size from before EXIF rotation turns it."""
    told = region.get("original_width"), region.get("original_height")
    if told not in ((None, None), (width_px, height_px)):
        shown = "x".join(str(side)[:12] if isinstance(side, int | float) else type(side).__name__ for side in told)
        raise UnusableRegion(f"it was drawn on {shown} pixels, and the upright image has {width_px}x{height_px}")
    if region.get("image_rotation") not in (None, 0):
        raise UnusableRegion("it was drawn on a canvas that the annotator had rotated")


def _brush(value: Mapping[str, Any], height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    if value.get("format") not in (None, "rle") or "rle" not in value:
        raise UnusableRegion("its brush mask is not in Label Studio's rle format")
    return decode_mask(value["rle"], height_px=height_px, width_px=width_px)


def _polygon(value: Mapping[str, Any], height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    points = value.get("points")
    if value.get("closed") is False:
        raise UnusableRegion("its polygon is not closed")
    if not isinstance(points, list) or not 3 <= len(points) <= MOST_POINTS:
        raise UnusableRegion(f"its polygon is not a list of 3 to {MOST_POINTS} points")
    return fill_polygon(_points(points) * (width_px / 100, height_px / 100), height_px=height_px, width_px=width_px)


def _points(points: list[Any]) -> Float[np.ndarray, "n 2"]:
    """Per cent, as they stand in the JSON."""
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise UnusableRegion("its polygon holds something that is not a pair of numbers")
    pairs = (finite_number({"x": x, "y": y}, axis) for x, y in points for axis in ("x", "y"))
    return np.fromiter(pairs, np.float64, 2 * len(points)).reshape(-1, 2)


def _ellipse(value: Mapping[str, Any], height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    return fill_ellipse(
        center_x_px=finite_number(value, "x") * width_px / 100,
        center_y_px=finite_number(value, "y") * height_px / 100,
        radius_x_px=finite_number(value, "radiusX") * width_px / 100,
        radius_y_px=finite_number(value, "radiusY") * height_px / 100,
        rotation_deg=finite_number(value, "rotation", default=0.0),
        height_px=height_px,
        width_px=width_px,
    )


def _rectangle(value: Mapping[str, Any], height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    return fill_rectangle(
        x_px=finite_number(value, "x") * width_px / 100,
        y_px=finite_number(value, "y") * height_px / 100,
        rectangle_width_px=finite_number(value, "width") * width_px / 100,
        rectangle_height_px=finite_number(value, "height") * height_px / 100,
        rotation_deg=finite_number(value, "rotation", default=0.0),
        height_px=height_px,
        width_px=width_px,
    )


def _bitmask(value: Mapping[str, Any], height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
    """The alpha of the front end's canvas: black and opaque inside, transparent outside."""
    url = value.get("imageDataURL")
    if not isinstance(url, str) or not url.startswith(_DATA_URL):
        raise UnusableRegion("its bitmask is not a PNG as a data: URL")
    # 4 bytes a pixel before compression, 4/3 for base64: a longer one is no mask of this image.
    if len(url) > height_px * width_px * 6 + 65_536:
        raise UnusableRegion(f"its bitmask has {len(url)} characters, too many for {width_px}x{height_px} pixels")
    try:
        with Image.open(io.BytesIO(base64.b64decode(url[len(_DATA_URL) :], validate=True)), formats=["PNG"]) as png:
            # Before anything is decoded: the header's size is the image's, so that memory is bounded by it.
            if png.size != (width_px, height_px):
                raise UnusableRegion(f"its bitmask has {png.width}x{png.height} pixels, not {width_px}x{height_px}")
            if not png.has_transparency_data:
                raise UnusableRegion("its bitmask has no transparency, and the mask is what is opaque")
            return np.asarray(png.convert("RGBA").getchannel("A")) > 127
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise UnusableRegion("its bitmask is not a PNG that can be read") from fault


_READERS: Mapping[str, Callable[[Mapping[str, Any], int, int], Bool[np.ndarray, "h w"]]] = {
    "brush": _brush,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "rectangle": _rectangle,
    "bitmask": _bitmask,
}
