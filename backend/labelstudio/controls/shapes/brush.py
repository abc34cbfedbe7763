"""<Brush>, <BrushLabels>: a mask in Label Studio's own run-length code."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import UnusableRegion
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.labelstudio.rle import decode_mask, encode_mask


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    if value.get("format") not in (None, "rle") or "rle" not in value:
        raise UnusableRegion("its brush mask is not in Label Studio's rle format")
    return decode_mask(value["rle"], height_px=size.height_px, width_px=size.width_px)


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write one region, which is exactly the mask."""
    del tolerance_px  # a brush mask holds every pixel
    return [{"format": "rle", "rle": encode_mask(mask)}]


SHAPE = Shape(
    name="brush", field="rle", read=_read, write=_write, detail_rank=1, is_mask=True, is_stroke=True, is_scalable=False
)
