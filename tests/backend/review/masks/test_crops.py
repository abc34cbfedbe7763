"""Images at the size they are shown: fetched once an image, kept within a bound, never of another image."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from support.pictures import encode_image

from backend.errors import NotFound
from backend.review.masks.crops import Crops, fit_size


def _png(height_px: int = 400, width_px: int = 600) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 255, (height_px // 40, width_px // 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.NEAREST)
    return encode_image(image), np.asarray(image)


def _opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_crop_is_that_part_of_the_image_and_no_larger_than_it_is_shown() -> None:
    data, pixels = _png()
    sha256 = hashlib.sha256(data).hexdigest()
    crops = Crops(max_bytes=1 << 20, max_pixels=1 << 20)
    whole = _opened(crops.crop(sha256, (40, 80, 100, 120), size_px=160, fetch=lambda: data))
    assert np.abs(whole - pixels[40:140, 80:200]).mean() < 6
    small = _opened(crops.crop(sha256, (0, 0, 400, 600), size_px=160, fetch=lambda: data))
    assert small.shape == (107, 160, 3)
    beyond = _opened(crops.crop(sha256, (380, 580, 40, 40), size_px=160, fetch=lambda: data))
    assert (beyond[22:, 22:] < 8).all()


def test_an_image_is_fetched_once_for_all_its_objects_however_many_ask() -> None:
    data, _ = _png()
    sha256, fetched, gate = hashlib.sha256(data).hexdigest(), [], threading.Event()
    windows = [(0, 40 * number, 40, 40) for number in range(12)]
    crops = Crops(max_bytes=1 << 20, max_pixels=1 << 20)

    def fetch() -> bytes:
        fetched.append(1)
        gate.wait(120)
        return data

    with ThreadPoolExecutor(12) as pool:
        asked = [
            pool.submit(crops.crop, sha256, window, size_px=160, fetch=fetch, beside=windows) for window in windows
        ]
        gate.set()
        assert len({crop.result() for crop in asked}) > 6
    assert len(fetched) == 1
    assert not crops._images, "locks of images that nobody waits for are forgotten"


def test_what_is_kept_stays_within_its_bound() -> None:
    data, _ = _png()
    sha256, fetched = hashlib.sha256(data).hexdigest(), []
    crops = Crops(max_bytes=4000, max_pixels=1 << 20)
    for number in range(60):
        crops.crop(sha256, (number, number, 80, 80), size_px=160, fetch=lambda: (fetched.append(1), data)[1])
        assert sum(map(len, crops._kept.values())) == crops._held_bytes <= 4000
    assert len(fetched) == 60
    crops.crop(sha256, (59, 59, 80, 80), size_px=160, fetch=lambda: (fetched.append(1), data)[1])
    assert len(fetched) == 60


def test_an_image_that_was_replaced_is_not_shown_below_another_images_masks() -> None:
    data, _ = _png()
    with pytest.raises(NotFound, match="has changed since the masks were measured"):
        Crops(max_bytes=1 << 20, max_pixels=1 << 20).crop("0" * 64, (0, 0, 9, 9), size_px=160, fetch=lambda: data)


def test_a_small_part_is_not_enlarged() -> None:
    assert fit_size((0, 0, 30, 20), longest_px=160) == (20, 30)
    assert fit_size((0, 0, 4000, 10), longest_px=160) == (1, 160)
