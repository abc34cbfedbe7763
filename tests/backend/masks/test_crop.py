"""Tiles cover an image, and a prompt finds the tile in whose middle it lies."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.masks.crop import Crop, find_tile, list_tiles
from backend.masks.prompt import Box, Click, Prompt

SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))
MAGNIFICATIONS = st.sampled_from([1.5, 2.0, 3.0])
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1))


@pytest.mark.parametrize(("magnification", "count"), [(1.0, 1), (1.5, 4), (2.0, 9), (3.0, 25)])
def test_neighbouring_tiles_overlap_by_half(magnification: float, count: int) -> None:
    tiles = list_tiles(magnification)
    assert len(tiles) == count
    crops = [tile.crop(600, 1200) for tile in tiles]
    assert {(crop.x1_px - crop.x0_px, crop.y1_px - crop.y0_px) for crop in crops} == {
        (round(1200 / magnification), round(600 / magnification))
    }
    lefts = sorted({crop.x0_px for crop in crops})
    assert all(right - left == round(600 / magnification) for left, right in pairwise(lefts))


@given(size=SIZES, magnification=MAGNIFICATIONS)
def test_tiles_lie_in_the_image_and_cover_it(size: tuple[int, int], magnification: float) -> None:
    covered = np.zeros(size, np.bool_)
    for tile in list_tiles(magnification):
        crop = tile.crop(*size)
        assert 0 <= crop.x0_px < crop.x1_px <= size[1]
        assert 0 <= crop.y0_px < crop.y1_px <= size[0]
        crop.cut(covered)[:] = True
    assert covered.all()


@given(size=SIZES, at=SHARES, magnification=MAGNIFICATIONS)
def test_a_click_lies_in_the_middle_of_its_tile_unless_it_lies_at_the_images_edge(
    size: tuple[int, int], at: tuple[float, float], magnification: float
) -> None:
    height, width = size
    click = Click(at[0] * width, at[1] * height)
    tile = find_tile(Prompt(clicks=(click,)), height_px=height, width_px=width, magnification=magnification)
    assert tile is not None
    crop = tile.crop(height, width)
    for place, low, high, extent in (
        (click.x_px, crop.x0_px, crop.x1_px, width),
        (click.y_px, crop.y0_px, crop.y1_px, height),
    ):
        room = (high - low) / 4 - 1  # a tile is as wide as two steps between tiles, and sides are rounded
        assert low <= place <= high
        assert low == 0 or place - low >= room
        assert high == extent or high - place >= room


def test_no_tile_answers_a_prompt_that_it_does_not_contain_whole() -> None:
    image = {"height_px": 300, "width_px": 300, "magnification": 1.5}
    assert find_tile(Prompt(box=Box(20.0, 20.0, 60.0, 60.0)), **image) is not None
    assert find_tile(Prompt(box=Box(20.0, 20.0, 260.0, 60.0)), **image) is None
    far = Click(290.0, 290.0, is_foreground=False)
    assert find_tile(Prompt(clicks=(Click(20.0, 20.0), far)), **image) is None
    mask = np.zeros((300, 300), np.bool_)
    mask[10:290, 50] = True
    assert find_tile(Prompt(clicks=(Click(50.5, 50.5),), mask=mask), **image) is None


@settings(max_examples=40)
@given(data=st.data(), size=st.tuples(st.integers(2, 40), st.integers(2, 40)))
def test_a_mask_that_was_cut_out_is_put_back_where_it_was(data: st.DataObject, size: tuple[int, int]) -> None:
    height, width = size
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    crop = Crop(x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    whole = np.random.default_rng(data.draw(st.integers(0, 99))).random(size) < 0.3
    outside = whole.copy()
    crop.cut(outside)[:] = False
    placed = crop.place(crop.cut(whole), height_px=height, width_px=width)
    assert np.array_equal(placed | outside, whole)
    assert not (placed & outside).any()
