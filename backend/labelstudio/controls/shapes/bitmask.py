"""<Bitmask>, <BitmaskLabels>: a mask as a PNG in a data: URL."""

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from backend.errors import UnusableRegion
from backend.labelstudio.alpha import mask_of_alpha
from backend.labelstudio.controls.shape import Shape, Size, Value

_DATA_URL = "data:image/png;base64,"


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    """Read the alpha of the front end's canvas: black and opaque inside the mask, transparent outside."""
    height_px, width_px = size.height_px, size.width_px
    url = value.get("imageDataURL")
    if not isinstance(url, str) or not url.startswith(_DATA_URL):
        raise UnusableRegion("its bitmask is not a PNG as a data: URL")
    # 4 bytes a pixel before compression, times 4/3 for base64: a longer URL is no mask of this image.
    if len(url) > height_px * width_px * 6 + 65_536:
        raise UnusableRegion(f"its bitmask has {len(url)} characters, too many for {width_px}x{height_px} pixels")
    try:
        with Image.open(io.BytesIO(base64.b64decode(url[len(_DATA_URL) :], validate=True)), formats=["PNG"]) as png:
            # Checked before the decoding, so that the image's size bounds the memory.
            if png.size != (width_px, height_px):
                raise UnusableRegion(f"its bitmask has {png.width}x{png.height} pixels, not {width_px}x{height_px}")
            if not png.has_transparency_data:
                raise UnusableRegion("its bitmask has no transparency, which must mark the outside")
            return mask_of_alpha(np.asarray(png.convert("RGBA").getchannel("A")))
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise UnusableRegion("its bitmask is not a PNG that can be read") from fault


def _write(mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
    """Write what the editor's canvas holds: black and opaque inside, transparent outside; one bit a pixel."""
    del tolerance_px  # a bitmask holds every pixel
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    png = io.BytesIO()
    image.save(png, "PNG", bits=1, transparency=bytes([0, 255]))
    return [{"imageDataURL": _DATA_URL + base64.b64encode(png.getvalue()).decode()}]


SHAPE = Shape(
    name="bitmask",
    field="imageDataURL",
    read=_read,
    write=_write,
    detail_rank=2,
    is_mask=True,
    is_stroke=True,
    is_scalable=False,
)
