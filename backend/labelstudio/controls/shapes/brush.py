"""<Brush>, <BrushLabels>: a mask in Label Studio's own run-length code, or, in a draft, the strokes on it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.labelstudio.controls.shapes import bitmask
from backend.labelstudio.rle import decode_mask, encode_mask
from backend.labelstudio.values import finite_number
from backend.masks.strokes import Stroke, fill_strokes

MOST_STROKES = 2000


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    """Read the mask as the editor makes it of a draft: the code, the magic wand's mask over it, and strokes at last.

    Drafts hold strokes as they were drawn; a submitted annotation has them in its code.
    """
    strokes, wand = value.get("touches"), value.get("maskDataURL")
    if str(value.get("format") or "rle").lower() != "rle" or not ("rle" in value or strokes or wand):
        raise UnusableRegion("its brush mask is not in Label Studio's rle format")
    mask: Bool[np.ndarray, "h w"] = np.zeros((size.height_px, size.width_px), np.bool_)
    if value.get("rle") is not None or not (strokes or wand):
        mask = decode_mask(value.get("rle"), height_px=size.height_px, width_px=size.width_px)
    if wand:
        mask = mask | bitmask.read_url(wand, size)
    return _draw(strokes, on=mask) if strokes else mask


def _draw(strokes: object, *, on: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask with strokes drawn on it and erased from it, in order."""
    if not isinstance(strokes, list) or not all(isinstance(stroke, Mapping) for stroke in strokes):
        raise UnusableRegion("its brush has strokes that are no list of objects")
    if len(strokes) > MOST_STROKES:
        raise UnusableRegion(f"its brush has {len(strokes)} strokes; at most {MOST_STROKES} are allowed")
    height_px, width_px = on.shape
    mask = on
    for erases, group in groupby(strokes, lambda stroke: stroke.get("type") == "eraser"):
        lines = [_stroke(stroke, height_px=height_px, width_px=width_px) for stroke in group]
        try:
            drawn = fill_strokes(lines, height_px=height_px, width_px=width_px)
        except ValueError as fault:  # there are too many points
            raise UnusableRegion(str(fault)) from fault
        mask = mask & ~drawn if erases else mask | drawn
    return mask


def _stroke(stroke: Mapping[str, Any], *, height_px: int, width_px: int) -> Stroke:
    numbers = stroke.get("relativePoints")
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise UnusableRegion("its brush has a stroke whose points are no pairs of numbers")
    pairs = (finite_number({"point": number}, "point") for number in numbers)
    points = np.fromiter(pairs, np.float64, len(numbers)).reshape(-1, 2)
    # The editor writes the width in per cent of the image's width.
    stroke_px = finite_number(stroke, "relativeStrokeWidth") * width_px / 100
    return Stroke(points * (width_px / 100, height_px / 100), stroke_px)


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write one region, which is exactly the mask."""
    del tolerance_px  # a brush mask holds every pixel
    return [{"format": "rle", "rle": encode_mask(mask)}]


SHAPE = Shape(
    name="brush", field="rle", read=_read, write=_write, detail_rank=1, is_mask=True, is_stroke=True, is_scalable=False
)
