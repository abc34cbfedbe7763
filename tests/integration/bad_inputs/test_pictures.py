"""Bad inputs 12 to 16: bytes that are no image, or too much of one. The number is the one in the list of thirty."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fakes.served import Served, data_uri, picture, rectangle, refused
from PIL import Image, PngImagePlugin
from support.pictures import encode_image

UNREADABLE = "are not a readable PNG, JPEG, WEBP, TIFF, BMP, GIF or AVIF image"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, extra: bytes = b"", pixels: bytes = b"") -> bytes:
    """An RGB PNG of any claimed size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    return encode_image(image, form, **options)


def tiff(*entries: tuple[int, int, int, int]) -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def test_12_thirteen_thousand_squared_in_twenty_kib(server: Served) -> None:
    bomb = png(13_000, 13_000, pixels=bytes(20 << 20))
    assert len(bomb) < 25_000
    with server.unharmed(seconds=3, mib=16):
        refused(server.click(data_uri(bomb)), "13000x13000 pixels, and at most 100000000 are allowed", status=422)


GIF_FRAME = b"\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0x80) + bytes(6) + b"\2\7\x84\x8f\xa9\xcb\xed\x0f\x51\0"


def with_long_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("bomb", "x" * (40 << 20), zip=True)
    return saved(Image.new("RGB", (8, 8)), "PNG", pnginfo=text)


def with_large_profile() -> bytes:
    return png(8, 8, extra=chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200 << 20))))


def of_many_counts() -> bytes:
    return tiff((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1 << 30, 8), (262, 3, 1, 1), (273, 4, 1 << 30, 8))


def of_claimed_size() -> bytes:
    size, rest = ((256, 4, 1, 60_000), (257, 4, 1, 60_000)), ((262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 9))
    return tiff(*size, (258, 3, 1, 8), *rest)


@pytest.mark.parametrize(
    "make",
    [with_long_text, with_large_profile, of_many_counts, of_claimed_size],
    ids=["zTXt", "iCCP", "tiff-counts", "tiff-size"],
)
def test_13_chunk_bombs(server: Served, make: Callable[[], bytes]) -> None:
    bomb = data_uri(make())
    with server.unharmed(seconds=10, mib=48):
        answer = server.click(bomb)
        refused(answer, "pixels, and" if "pixels, and" in answer.text else UNREADABLE, status=422)


def test_13_of_ten_thousand_frames_the_first_is_read(server: Served) -> None:
    # Not `unharmed`: an image that is answered leaves its embedding in the cache.
    answer = server.click(data_uri(b"GIF89a\x08\0\x08\0\0\0\0" + GIF_FRAME * 10_000 + b";"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/x { (id) run } def\n",
        saved(Image.new("RGB", (8, 8)), "EPS"),
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        saved(Image.new("RGB", (8, 8)), "PDF"),
        b"<!doctype html><title>Log in</title>",
        saved(Image.new("RGB", (8, 8)), "ICO"),
        saved(Image.new("RGB", (8, 8)), "PPM"),
        b"",
    ],
    ids=["ps", "eps", "svg", "pdf", "html", "ico", "ppm", "nothing"],
)
def test_14_another_format_named_png(server: Served, data: bytes) -> None:
    server.studio._uploads["/data/upload/1/a.png"] = data
    with server.unharmed(seconds=5):
        refused(server.click("/data/upload/1/a.png"), UNREADABLE, status=422)


@pytest.mark.parametrize("data", [picture(form="JPEG")[:100], png(0, 0), png(0, 7)], ids=["truncated", "0x0", "0x7"])
def test_15_a_picture_that_cannot_be_had(server: Served, data: bytes) -> None:
    with server.unharmed():
        refused(server.click(data_uri(data)), UNREADABLE, status=422)


def deep() -> bytes:
    return saved(Image.fromarray(np.arange(64 * 96, dtype=np.uint16).reshape(64, 96) * 9), "PNG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(width_px=96, height_px=64, form="JPEG", exif=exif)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: saved(Image.new("RGB", (1, 1), "red"), "PNG"), (1, 1)),
        (deep, (96, 64)),
        (lambda: saved(Image.open(io.BytesIO(picture())).convert("CMYK"), "JPEG"), (96, 64)),
        (lambda: saved(Image.open(io.BytesIO(picture())).convert("P"), "PNG"), (96, 64)),
        (turned, (64, 96)),
    ],
    ids=["1x1", "16-bit", "CMYK", "palette", "EXIF-rotated"],
)
def test_15_a_picture_that_looks_odd_works(server: Served, make: Callable[[], bytes], size: tuple[int, int]) -> None:
    answer = server.click(data_uri(make()))
    assert answer.status_code == 200, answer.text
    for region in answer.json()["results"][0]["result"]:
        assert (region["original_width"], region["original_height"]) == size


def test_16_a_size_that_differs_from_the_tasks(server: Served) -> None:
    """Prompts are in per cent, so a wrong size in them changes nothing; the answer tells the image's own."""
    for width in (10**9, "x", None):
        told = rectangle(5, 5, 90, 90) | {"original_width": width, "original_height": -3}
        answer = server.click(data_uri(picture()), told)
        assert answer.status_code == 200
        (region,) = answer.json()["results"][0]["result"]
        assert (region["original_width"], region["original_height"]) == (96, 64)
