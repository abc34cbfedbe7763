"""A mask as a picture to keep."""

import io

import numpy as np
import pytest
from PIL import Image
from support.review_objects import draw_square, review_object

from backend.review.masks.cards import cards
from backend.review.masks.drawing import draw_picture


@pytest.mark.parametrize("prompt", ["box", "point"])
def test_the_picture_holds_the_outlines_and_the_prompt_over_the_image(prompt: str) -> None:
    shown = review_object("a", base=0.5, candidate=0.9, drawn=draw_square(110, 110, 80))
    (card,) = cards([shown], prompt=prompt, against=None, flags=(), analyst="")
    data = draw_picture(card, Image.new("RGB", (140, 140), (10, 20, 30)), opposite="tiny", version="v1-0a1b2c")
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert (picture.width, picture.height) == (700, 730), "enlarged five times, with a line below"
    pixels = np.asarray(picture)
    assert tuple(pixels[5, 5]) == (10, 20, 30), "the image"
    assert tuple(pixels[150, 545]) == (57, 165, 255), "the version's upper edge begins at row (110 - 80) * 5"
    pink = np.argwhere((pixels[:700] == (255, 111, 216)).all(2))
    assert pink.min(0) == pytest.approx((100, 100) if prompt == "box" else (293, 293), abs=2)
    assert (pixels[700:] == (57, 165, 255)).all(2).any(), "the version's figure below"
