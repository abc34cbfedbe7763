"""Decodes a file's bytes into the image that the annotator sees."""

import io
import logging
import math
import threading
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFile, ImageOps

from backend.errors import BadImage

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# Modes with more than 8 bits a channel: the image's own extremes decide what is black and what is white.
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
# Only attackers send longer sides: resampling 1 x 99,000,000 px takes 46 s and 3.4 GB. JPEG has the same limit.
_LONGEST_SIDE_PX = 65_535
# libjpeg passes over the whole image for every scan of a progressive JPEG. Encoders write about ten scans; an attacker
# can write an empty scan in a few bytes.
_MOST_SCANS = 100
_START_OF_SCAN = b"\xff\xda"  # ITU-T T.81, B.1.1.3; within a scan's data 0xff is followed by 0
# Pixels a strip: a whole image's copies in float or with alpha would take gigabytes.
_STRIP_PIXELS = 1 << 20
_XMP = ("xmp", "XML:com.adobe.xmp")  # Pillow turns images by XMP too; browsers turn them by EXIF alone (measured)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION, _SEPARATE = 258, 284, 2  # TIFF 6.0
# We check our own limit before decoding. Pillow's would warn at 89 million and refuse sizes that the user allowed.
Image.MAX_IMAGE_PIXELS = None


class _CutFiles(threading.local):
    """Replaces Pillow's single switch for all threads by a switch for every thread."""

    are_read = False

    def __bool__(self) -> bool:
        return self.are_read


_cut_files = _CutFiles()
ImageFile.LOAD_TRUNCATED_IMAGES = _cut_files  # type: ignore[assignment]


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file as an upright RGB image, its EXIF rotation applied as Label Studio does.

    It reads every format that Label Studio's editor shows (FORMATS). Of an animation it reads the first frame. A
    truncated file or a damaged PNG gives the part that is there, with a warning in the log. Transparency is laid on
    white. 16-bit, 32-bit and float greys are stretched from their darkest to their brightest value; palette, CMYK, grey
    and bilevel images are converted.

    Raises:
        BadImage: the bytes are of another format (whatever the file's name says) or damaged, or the header says more
            than `max_pixels` pixels, a side over 65,535 px, or over 100 JPEG scans. Then no pixel is decoded.
    """
    try:
        return _decode(data, max_pixels)
    except BadImage:
        raise
    except Exception as fault:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, KeyError, ...
        # Browsers show a PNG whose checksums or data are damaged (measured in Chromium), and so does this way.
        is_damaged = data.startswith(_PNG_SIGNATURE) and isinstance(fault, OSError | SyntaxError)
        image = _decode_cut(data, max_pixels) if is_damaged or "truncated" in str(fault) else None
        if image is None:
            raise BadImage(
                f"the file's {len(data)} bytes are not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image; "
                "convert the file, or upload it again if it is damaged"
            ) from fault
        return image


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image, max_pixels)
        _check_scans(image, data)
        _check_planes(image)
        return _convert(image)


def _decode_cut(data: bytes, max_pixels: int) -> Image.Image | None:
    """Decode the part of a damaged file that is there, as browsers do; None where that part has no image."""
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
        "an image of %d bytes is damaged or truncated: what is there is used; upload it again if it looks wrong",
        len(data),
        extra={"event": "image.cut"},
    )
    return image


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width_px, height_px = image.size
    if width_px * height_px > max_pixels:
        raise BadImage(
            f"the image has {width_px}x{height_px} pixels, and at most {max_pixels} are allowed: "
            "make it smaller, or raise SAMLOOP_IMAGE_MEGAPIXELS"
        )
    if max(image.size) > _LONGEST_SIDE_PX:
        raise BadImage(
            f"the image has {width_px}x{height_px} pixels, and a side may have at most {_LONGEST_SIDE_PX}: "
            "cut it into several images"
        )


def _check_scans(image: Image.Image, data: bytes) -> None:
    scans = data.count(_START_OF_SCAN) if image.format in {"JPEG", "MPO"} else 1
    if scans > _MOST_SCANS:
        raise BadImage(f"the JPEG has {scans} scans, and at most {_MOST_SCANS} are allowed: save it again")


def _check_planes(image: Image.Image) -> None:
    """Refuse 16-bit channels that are stored plane by plane: Pillow 13 silently decodes them as bytes, wrongly."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR_CONFIGURATION) == _SEPARATE and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise BadImage("this TIFF stores 16-bit channels plane by plane, which we cannot read: save it interleaved")


def _convert(image: Image.Image) -> Image.Image:
    if getattr(image, "default_image", False):  # an APNG's image for programs that show no animation
        image.seek(1)
    image.load()
    for name in _XMP:
        image.info.pop(name, None)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _DEEP_MODES:
        return _stretch_greys(image)
    if image.has_transparency_data:
        return _convert_by_strips(image, _lay_on_white)
    return image.convert("RGB")


def _convert_by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image to RGB a strip of rows at a time, without another copy of the whole image."""
    converted = Image.new("RGB", image.size)
    for y0, strip in _cut_strips(image):
        converted.paste(convert(strip), (0, y0))
    return converted


def _cut_strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image's strips of rows, with the number of every strip's first row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for y0 in range(0, image.height, rows):
        yield y0, image.crop((0, y0, image.width, min(y0 + rows, image.height)))


def _lay_on_white(strip: Image.Image) -> Image.Image:
    layer = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _stretch_greys(image: Image.Image) -> Image.Image:
    """Stretch greys of more than 8 bits: the darkest becomes black, the brightest white; values not finite are 0."""
    darkest, brightest = math.inf, -math.inf
    for _, strip in _cut_strips(image):
        values = _read_finite(strip)
        darkest, brightest = min(darkest, float(values.min())), max(brightest, float(values.max()))
    scale = 255 / (brightest - darkest) if brightest > darkest else 0.0

    def stretch(strip: Image.Image) -> Image.Image:
        grey = (_read_finite(strip) - darkest) * scale
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")

    return _convert_by_strips(image, stretch)


def _read_finite(strip: Image.Image) -> Float[np.ndarray, "h w"]:
    return np.nan_to_num(np.asarray(strip, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
