"""Whatever an annotator can upload opens as the image that Label Studio shows; what cannot be opened is told."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from support.pictures import encode_image

from backend.errors import BadImage
from backend.images.picture import open_image

LIMIT = 1_000_000


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    return encode_image(image, form, **options)


def opened(data: bytes, *, max_pixels: int = LIMIT) -> Image.Image:
    return open_image(data, max_pixels=max_pixels)


def gradient(width_px: int = 12, height_px: int = 8) -> Image.Image:
    y, x = np.mgrid[:height_px, :width_px]
    return Image.fromarray(np.stack([x * 20, y * 30, x * 0 + 7], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_come_back_exactly(form: str) -> None:
    image = opened(saved(gradient(), form))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(gradient()))


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_nearly(form: str) -> None:
    image = opened(saved(gradient(), form, quality=95))
    assert (image.mode, image.size) == ("RGB", (12, 8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_rotation_is_applied(form: str, orientation: int) -> None:
    """The top left corner is red in the file; orientation tells where it belongs."""
    stored = Image.new("RGB", (32, 16))
    stored.paste("red", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = opened(saved(stored, form, exif=exif))
    assert image.size == ((16, 32) if orientation >= 5 else (32, 16))
    right = orientation in {2, 3, 6, 7}
    bottom = orientation in {3, 4, 7, 8}
    corner = (image.width - 3 if right else 2, image.height - 3 if bottom else 2)
    red, green, blue = image.getpixel(corner)  # type: ignore[misc]
    assert red > 200
    assert green < 60
    assert blue < 60
    assert image.getexif().get(0x0112) in (None, 1)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_turns_nothing_as_in_browsers(form: str) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert opened(saved(gradient(), form, xmp=xmp)).size == (12, 8)


@pytest.mark.parametrize("where", ["header of a chunk", "checksum", "data"])
def test_a_damaged_png_is_read_as_browsers_show_it(where: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 120, 3)).astype(np.uint8))
    data = bytearray(saved(image))
    if where == "header of a chunk":
        data[33:33] = struct.pack(">I4sII", 4, b"gAMA", 45_455, 0)  # its checksum is not 0
    else:
        data[-17 if where == "checksum" else len(data) - 1000] ^= 0xFF
    read = np.asarray(opened(bytes(data)))
    assert np.array_equal(read[:70], np.asarray(image)[:70])


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    plain = gradient().convert("L")
    image = Image.fromarray(np.asarray(plain).astype(np.uint16) * 200) if mode == "I;16" else plain.convert(mode)
    assert image.mode == mode
    form = "TIFF" if mode in {"F", "CMYK", "I"} else "PNG"
    assert (opened(saved(image, form)).mode, opened(saved(image, form)).size) == ("RGB", (12, 8))


def test_sixteen_bits_are_stretched_from_darkest_to_brightest() -> None:
    values = np.array([[1000, 1500], [2000, 3000]], np.uint16)
    image = opened(saved(Image.fromarray(values)))
    assert np.asarray(image)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_deep_values_without_a_span_or_not_finite_are_black() -> None:
    assert np.asarray(opened(saved(Image.fromarray(np.full((2, 2), 9, np.uint16))))).max() == 0
    broken = np.array([[np.nan, np.inf], [-np.inf, 0]], np.float32)
    assert np.asarray(opened(saved(Image.fromarray(broken), "TIFF"))).max() == 0


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"tile": (16, 16)}, {"compression": "zlib"}, {"bigtiff": True}],
    ids=["plain", "big-endian", "tiled", "deflate", "bigtiff"],
)
@pytest.mark.parametrize("depth", [1, 257], ids=["8-bit", "16-bit"])
def test_tiffs_as_microscopes_write_them_come_back_exactly(options: dict[str, object], depth: int) -> None:
    kind = np.dtype(np.uint8 if depth == 1 else np.uint16)
    values = (np.asarray(gradient()).astype(kind) * depth).astype(kind.newbyteorder(str(options.get("byteorder", "<"))))
    assert np.array_equal(np.asarray(opened(tiff(values, photometric="rgb", **options))), np.asarray(gradient()))


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.uint32, np.float32])
def test_deep_greys_of_every_type_are_stretched(kind: type) -> None:
    values = (np.arange(96).reshape(8, 12) * 10).astype(kind)
    grey = np.asarray(opened(tiff(values)))[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)
    assert (np.diff(grey.ravel().astype(int)) >= 0).all()


def test_planes_of_eight_bits_are_read_and_of_sixteen_refused() -> None:
    """Pillow reads the latter as bytes, without a word."""
    planes = np.moveaxis(np.asarray(gradient()), -1, 0)
    read = opened(tiff(planes, photometric="rgb", planarconfig="separate"))
    assert np.array_equal(np.asarray(read), np.asarray(gradient()))
    with pytest.raises(BadImage, match="plane by plane, which we cannot read: save it interleaved"):
        opened(tiff(planes.astype(np.uint16) * 257, photometric="rgb", planarconfig="separate"))


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    assert [opened(saved(image)).getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    assert opened(saved(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_an_image_of_one_pixel_works() -> None:
    assert opened(saved(Image.new("RGB", (1, 1), "red"))).getpixel((0, 0)) == (255, 0, 0)


def test_the_pixel_limit_is_exact_and_checked_before_decoding() -> None:
    assert opened(saved(Image.new("L", (1000, 1000)))).size == (1000, 1000)
    with pytest.raises(BadImage, match="1001x1000 pixels, and at most 1000000 are allowed"):
        opened(saved(Image.new("L", (1001, 1000))))


def test_a_large_image_within_the_users_limit_warns_of_nothing() -> None:
    data = saved(Image.new("1", (10_000, 9_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImage, match="10000x9000"):
            opened(data)


def png_of(width: int, height: int, *, extra: bytes = b"") -> bytes:
    """A PNG that claims a size, and holds 20 KiB of zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(bytes(20 << 20))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
def test_a_side_longer_than_any_camera_writes_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match=f"{size[0]}x{size[1]} pixels, and a side may have at most 65535"):
        opened(saved(Image.new("1", size)))
    assert opened(saved(Image.new("1", (1, 65_535)))).height == 65_535


def test_a_progressive_jpeg_of_scan_upon_scan_is_refused_before_it_is_decoded() -> None:
    """Each scan costs a pass over the whole image, and a few bytes of the file."""
    usual = saved(gradient(64, 48), "JPEG", progressive=True)
    first = usual.rindex(b"\xff\xda")
    endless = usual[:-2] + 100 * usual[first:-2] + usual[-2:]
    with pytest.raises(BadImage, match="the JPEG has 110 scans, and at most 100 are allowed"):
        opened(endless)
    assert opened(usual[:-2] + 90 * usual[first:-2] + usual[-2:]).size == (64, 48)


def test_strips_of_a_large_image_are_converted_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(3).integers(0, 65_535, (90, 40, 4))
    clear, deep = Image.fromarray((noise >> 8).astype(np.uint8)), Image.fromarray(noise[..., 0].astype(np.uint16))
    whole = [np.asarray(opened(saved(image))) for image in (clear, deep)]
    monkeypatch.setattr("backend.images.picture._STRIP_PIXELS", 40 * 7)
    strips = [np.asarray(opened(saved(image))) for image in (clear, deep)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, strips, strict=True))


def test_a_bomb_of_20_kib_is_refused_by_its_header() -> None:
    data = png_of(13_000, 13_000)
    assert len(data) < 25_000
    with pytest.raises(BadImage, match="13000x13000 pixels"):
        open_image(data, max_pixels=100_000_000)


def test_text_chunk_bombs_are_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("bomb", "x" * (40 << 20), zip=True)
    with pytest.raises(BadImage, match="not a readable PNG"):
        opened(saved(gradient(), pnginfo=info))


PICTURE = saved(gradient(200, 200), "JPEG")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        PICTURE[:100],
        saved(gradient(), "PDF"),
        saved(gradient(), "EPS"),
        saved(gradient(), "ICO"),
        saved(gradient(), "PPM"),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"<!doctype html><title>Log in</title>",
        png_of(0, 0),
        b"BM" + bytes(60),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
        b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(30),
    ],
)
def test_other_formats_and_damaged_files_are_refused_with_one_sentence(data: bytes) -> None:
    with pytest.raises(
        BadImage,
        match=rf"^the file's {len(data)} bytes are not a readable PNG, JPEG, WEBP, TIFF, BMP, GIF or AVIF image",
    ):
        opened(data)


@pytest.mark.parametrize("data", [PICTURE[:-2], PICTURE[:-300], saved(gradient(200, 200))[:-100]])
def test_of_a_file_whose_end_is_missing_there_is_what_there_is(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Cameras and broken downloads leave such files, and Label Studio shows them."""
    image = opened(data)
    whole = np.asarray(gradient(200, 200)).astype(int)
    top = np.abs(np.asarray(image)[:50].astype(int) - whole[:50])
    assert image.size == (200, 200)
    assert np.median(top) < 12
    assert [record.__dict__["event"] for record in caplog.records] == ["image.cut"]


def test_while_one_thread_reads_a_cut_file_others_are_told_of_theirs_as_before() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(image.size == (200, 200) for image in pool.map(opened, [PICTURE[:-300]] * 20))
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(PICTURE[:-300])).load()


@pytest.mark.parametrize("form", ["GIF", "AVIF"])
def test_what_browsers_show_opens_as_its_first_frame(form: str) -> None:
    first, later = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (32, 16), "blue")
    image = opened(saved(first, form, save_all=True, append_images=[later]))
    assert image.size == (32, 16)
    red, _, blue = image.getpixel((9, 9))  # type: ignore[misc]
    assert red > 200
    assert blue < 60


@given(form=st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]), at=st.floats(0, 1), byte=st.integers(0, 255))
def test_one_wrong_byte_gives_a_picture_or_a_refusal(form: str, at: float, byte: int) -> None:
    data = bytearray(saved(gradient(), form))
    data[int(at * (len(data) - 1))] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged metadata that it can do without
        try:
            assert opened(bytes(data)).mode == "RGB"
        except BadImage:
            return


def test_of_an_apng_with_an_image_for_old_programs_the_first_frame_is_read() -> None:
    """Browsers show the animation; its default image need not be a part of it."""
    animated = saved(Image.new("RGB", (12, 8)), save_all=True, append_images=[gradient()], default_image=True)
    assert np.array_equal(np.asarray(opened(animated)), np.asarray(gradient()))
    plain = saved(gradient(), save_all=True, append_images=[Image.new("RGB", (12, 8))])
    assert np.array_equal(np.asarray(opened(plain)), np.asarray(gradient()))
