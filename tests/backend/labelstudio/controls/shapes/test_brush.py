"""A brush holds every pixel."""

import numpy as np
import pytest

from backend.errors import BadInput, UnusableRegion
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.controls.shapes import bitmask
from backend.labelstudio.controls.shapes.brush import SHAPE

SIZE = Size(height_px=6, width_px=8)


def test_a_mask_comes_back_to_the_pixel() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = SHAPE.write(mask, tolerance_px=5.0)
    assert np.array_equal(SHAPE.read(value, SIZE), mask)


def test_the_name_of_the_format_may_have_capitals() -> None:
    mask = np.eye(6, 8, dtype=bool)
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    assert np.array_equal(SHAPE.read(value | {"format": "RLE"}, SIZE), mask)


@pytest.mark.parametrize("value", [{}, {"format": "png", "rle": []}, {"points": []}])
def test_another_format_is_refused(value: dict) -> None:
    with pytest.raises(UnusableRegion, match="rle format"):
        SHAPE.read(value, SIZE)


def stroke(*points: float, width: float = 25.0, **more: str) -> dict:
    """As the editor writes a stroke into a draft: per cent of the image, and of its width."""
    return {"type": "add", "relativePoints": list(points), "relativeStrokeWidth": width, **more}


def test_the_strokes_of_a_draft_are_drawn_on_the_mask_and_erased_from_it_in_order() -> None:
    """Label Studio's drafts hold what was brushed since as strokes, beside the code of the mask before."""
    mask = np.zeros((6, 8), bool)
    mask[:, :4] = True
    (value,) = SHAPE.write(mask, tolerance_px=0.0)
    drawn = SHAPE.read(value | {"touches": [stroke(75, 0, 75, 100)]}, SIZE)
    assert np.array_equal(drawn[0], [1, 1, 1, 1, 0, 1, 1, 0])
    eraser = stroke(0, 50, 100, 50, type="eraser")
    erased = SHAPE.read(value | {"touches": [stroke(75, 0, 75, 100), eraser]}, SIZE)
    assert np.array_equal(erased, drawn & (np.abs(np.arange(6) - 2.5) > 1)[:, None])
    again = SHAPE.read(value | {"touches": [eraser, stroke(75, 0, 75, 100)]}, SIZE)
    assert again[2:4, 5:7].all()


def test_a_draft_of_strokes_alone_is_a_mask() -> None:
    mask = SHAPE.read({"format": "rle", "touches": [stroke(50, 50, 50, 50, width=50)]}, SIZE)
    assert mask.sum() == 12


def test_the_magic_wand_s_mask_is_that_of_a_draft_too() -> None:
    mask = np.random.default_rng(0).random((6, 8)) > 0.5
    (value,) = bitmask.SHAPE.write(mask, tolerance_px=0.0)
    assert np.array_equal(SHAPE.read({"format": "rle", "maskDataURL": value["imageDataURL"]}, SIZE), mask)


@pytest.mark.parametrize(
    ("touches", "says"),
    [
        ("x", "no list of objects"),
        ([5], "no list of objects"),
        ([{"relativePoints": [1]}], "no pairs of numbers"),
        ([{"relativePoints": ["1", "2"]}], "point is str"),
        ([{"relativePoints": [1, 2]}], "relativeStrokeWidth is NoneType"),
        ([stroke(1, 2)] * 2001, "2001 strokes; at most 2000"),
    ],
)
def test_strokes_that_cannot_be_read_are_refused(touches: object, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        SHAPE.read({"format": "rle", "touches": touches}, SIZE)
