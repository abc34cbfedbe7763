"""From a file's bytes to the picture that the annotator sees."""

import io
import logging
import threading

import numpy as np
from PIL import Image, ImageFile, ImageOps

from backend.errors import BadImage

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# Modes with more than 8 bits a channel: what is black and what is white is for the picture itself to say.
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION, _SEPARATE = 258, 284, 2  # TIFF 6.0
# Ours is checked before anything is decoded; Pillow's own would warn at 89 million and refuse what a user allowed.
Image.MAX_IMAGE_PIXELS = None


class _CutFiles(threading.local):
    """Stands for Pillow's one switch for all threads, so that each thread has its own."""

    are_read = False

    def __bool__(self) -> bool:
        return self.are_read


_cut_files = _CutFiles()
ImageFile.LOAD_TRUNCATED_IMAGES = _cut_files  # type: ignore[assignment]


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file as an upright RGB image, its EXIF rotation applied as Label Studio does.

    It reads what Label Studio's editor shows (FORMATS): of several frames the first; of a file whose end is missing
    what there is, with a warning in the log. Transparency is laid on white. 16-bit, 32-bit and float greys are
    stretched from their darkest to their brightest value; palette, CMYK, grey and bilevel are converted.

    Raises:
        BadImage: another format (whatever its name says), damaged, or more than `max_pixels` pixels, which is read from
            its header before any pixel is decoded.
    """
    try:
        return _decode(data, max_pixels)
    except BadImage:
        raise
    except Exception as fault:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, KeyError, ...
        image = _decode_cut(data, max_pixels) if "truncated" in str(fault) else None
        if image is None:
            raise BadImage(
                f"{len(data)} bytes that are no readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image; "
                "convert it, or upload it again if it is damaged"
            ) from fault
        return image


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image, max_pixels)
        _check_planes(image)
        return _upright_rgb(image)


def _decode_cut(data: bytes, max_pixels: int) -> Image.Image | None:
    """What there is of a file whose end is missing, as browsers show it; None where there is no picture in it."""
    _cut_files.are_read = True
    try:
        image = _decode(data, max_pixels)
    except BadImage:
        raise
    except Exception:  # noqa: BLE001 - as above: any decoder may raise anything
        return None
    finally:
        _cut_files.are_read = False
    log.warning(
        "an image of %d bytes is cut off: what there is of it is used; upload it again if it looks wrong",
        len(data),
        extra={"event": "image.cut"},
    )
    return image


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        raise BadImage(
            f"the image has {width_px}x{height_px} pixels, and {max_pixels} are the most: "
            "make it smaller, or raise SAMLOOP_IMAGE_MEGAPIXELS"
        )


def _check_planes(image: Image.Image) -> None:
    """Pillow 13 reads 16-bit planes that lie one after the other as bytes, and gives a wrong picture without a word."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR_CONFIGURATION) == _SEPARATE and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise BadImage("a TIFF whose 16-bit channels are stored plane by plane is not read here: save it interleaved")


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_MODES:
        return _stretched(upright).convert("RGB")
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return upright.convert("RGB")


def _stretched(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    darkest, brightest = float(values.min()), float(values.max())
    span = brightest - darkest
    grey = (values - darkest) * (255 / span) if span > 0 else np.zeros_like(values)
    return Image.fromarray(grey.round().astype(np.uint8))
