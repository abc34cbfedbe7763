"""<Bitmask>, <BitmaskLabels>: a mask as a PNG in a data: URL."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from backend.errors import BadInput, UnusableRegion
from backend.labelstudio.alpha import mask_of_alpha
from backend.labelstudio.controls.shape import Shape, Size, Value
from backend.net.data_uri import decode_data_uri

_DATA_URL = "data:image/png;base64,"
_MOST_ENLARGED = 4  # times as many pixels as the image


def _read(value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
    return read_url(value.get("imageDataURL"), size)


def read_url(url: object, size: Size) -> Bool[np.ndarray, "h w"]:
    """Read the alpha of the front end's canvas: black and opaque inside the mask, transparent outside.

    A bitmask of another size than the image is scaled, as in the editor.

    Raises:
        UnusableRegion: it is no PNG in a data: URL, has no transparency, or another shape than the image.
    """
    if not isinstance(url, str) or not url.startswith("data:image/"):
        raise UnusableRegion("its bitmask is not a PNG as a data: URL")
    # 4 bytes a pixel before compression, times 4/3 for base64: a longer URL is no mask of this image.
    if len(url) > size.height_px * size.width_px * 6 * _MOST_ENLARGED + 65_536:
        raise UnusableRegion(
            f"its bitmask has {len(url)} characters, too many for {size.width_px}x{size.height_px} pixels"
        )
    try:
        with Image.open(io.BytesIO(decode_data_uri(url)), formats=["PNG", "WEBP"]) as image:
            # Checked before the decoding, so that the image's size bounds the memory.
            _check_header(image, size)
            mask = mask_of_alpha(np.asarray(image.convert("RGBA").getchannel("A")))
    except UnusableRegion:
        raise
    except (BadInput, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise UnusableRegion("its bitmask is not a PNG that can be read") from fault
    return _scale(mask, size)


def _check_header(image: Image.Image, size: Size) -> None:
    """Refuse a bitmask without transparency, of another shape than the image's, or of far more pixels."""
    slack = max(size.width_px + size.height_px, image.width + image.height) / 2
    is_of_shape = abs(image.width * size.height_px - image.height * size.width_px) <= slack
    if not is_of_shape or image.width * image.height > _MOST_ENLARGED * size.width_px * size.height_px:
        raise UnusableRegion(
            f"its bitmask has {image.width}x{image.height} pixels, not {size.width_px}x{size.height_px}"
        )
    if not image.has_transparency_data:
        raise UnusableRegion("its bitmask has no transparency, which must mark the outside")


def _scale(mask: Bool[np.ndarray, "h w"], size: Size) -> Bool[np.ndarray, "h2 w2"]:
    if mask.shape == (size.height_px, size.width_px):
        return mask
    rows = ((np.arange(size.height_px) + 0.5) * mask.shape[0] / size.height_px).astype(np.int64)
    columns = ((np.arange(size.width_px) + 0.5) * mask.shape[1] / size.width_px).astype(np.int64)
    return mask[np.ix_(rows, columns)]


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
)
