"""Images are read again for the report, or it goes without them."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from finetuner.report.pictures import ImagesAgain

Png = Callable[[Image.Image], bytes]


@pytest.fixture
def data(png: Png) -> bytes:
    """A small image's file."""
    return png(Image.fromarray(np.full((4, 6, 3), 90, np.uint8)))


def test_an_image_is_read_again_from_where_it_came(data: bytes) -> None:
    images = ImagesAgain()
    images.remember(data, read=lambda: data, max_pixels=100)
    image = images(hashlib.sha256(data).hexdigest())
    assert image is not None
    assert image.size == (6, 4)
    assert images("0" * 64) is None


def test_an_image_that_is_gone_or_another_by_now_is_left_out(data: bytes) -> None:
    images, digest = ImagesAgain(), hashlib.sha256(data).hexdigest()

    def gone() -> bytes:
        raise FileNotFoundError("the disk was unmounted")

    images.remember(data, read=gone, max_pixels=100)
    assert images(digest) is None
    images.remember(data, read=lambda: data + b"x", max_pixels=100)
    assert images(digest) is None
