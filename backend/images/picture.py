"""From a file's bytes to the picture that the annotator sees."""

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
# Modes with more than 8 bits a channel: what is black and what is white is for the picture itself to say.
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
# Longer images come from attackers: resampling one of 1 x 99,000,000 px takes 46 s and 3.4 GB. JPEG ends here too.
_LONGEST_SIDE_PX = 65_535
# libjpeg goes over the whole image for every scan of a progressive JPEG; encoders write about ten, and a few bytes
# are enough for an empty one.
_MOST_SCANS = 100
_START_OF_SCAN = b"\xff\xda"  # ITU-T T.81, B.1.1.3; within a scan's data 0xff is followed by 0
# Images are converted so many pixels at a time: copies of a whole one, in float or with alpha, take gigabytes.
_STRIP_PIXELS = 1 << 20
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
        BadImage: another format (whatever its name says), damaged, or more than its header may say: over `max_pixels`
            pixels, a side over 65,535 px, or over 100 scans of a JPEG. No pixel is decoded then.
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
        _check_scans(image, data)
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
    if max(image.size) > _LONGEST_SIDE_PX:
        raise BadImage(
            f"the image has {width_px}x{height_px} pixels, and a side has at most {_LONGEST_SIDE_PX}: "
            "cut it into several images"
        )


def _check_scans(image: Image.Image, data: bytes) -> None:
    scans = data.count(_START_OF_SCAN) if image.format in {"JPEG", "MPO"} else 1
    if scans > _MOST_SCANS:
        raise BadImage(f"a JPEG of {scans} scans, and {_MOST_SCANS} are the most: save it again")


def _check_planes(image: Image.Image) -> None:
    """Pillow 13 reads 16-bit planes that lie one after the other as bytes, and gives a wrong picture without a word."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR_CONFIGURATION) == _SEPARATE and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise BadImage("a TIFF whose 16-bit channels are stored plane by plane is not read here: save it interleaved")


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _DEEP_MODES:
        return _stretched(image)
    if image.has_transparency_data:
        return _by_strips(image, _on_white)
    return image.convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a whole image to RGB, a strip of rows at a time, so that no further copy of all of it is needed."""
    converted = Image.new("RGB", image.size)
    for y0, strip in _strips(image):
        converted.paste(convert(strip), (0, y0))
    return converted


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The rows of an image by strips, with the number of every strip's first row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for y0 in range(0, image.height, rows):
        yield y0, image.crop((0, y0, image.width, min(y0 + rows, image.height)))


def _on_white(strip: Image.Image) -> Image.Image:
    layer = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _stretched(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits from their darkest, black, to their brightest, white. What is not finite is 0."""
    darkest, brightest = math.inf, -math.inf
    for _, strip in _strips(image):
        values = _finite(strip)
        darkest, brightest = min(darkest, float(values.min())), max(brightest, float(values.max()))
    scale = 255 / (brightest - darkest) if brightest > darkest else 0.0

    def stretch(strip: Image.Image) -> Image.Image:
        grey = (_finite(strip) - darkest) * scale
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")

    return _by_strips(image, stretch)


def _finite(strip: Image.Image) -> Float[np.ndarray, "h w"]:
    return np.nan_to_num(np.asarray(strip, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
