"""Specks go, what somebody clicked on stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from backend.masks.prompt import Click
from backend.masks.specks import remove_specks


def drawn(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


SPECKLED = drawn(
    ".........#",
    ".#####....",
    ".#.###....",
    ".#####..#.",
    ".#####...#",
    "..........",
)
CLEAN = drawn(
    "..........",
    ".#####....",
    ".#####....",
    ".#####....",
    ".#####....",
    "..........",
)


def test_small_islands_are_dropped_and_small_holes_filled() -> None:
    assert np.array_equal(remove_specks(SPECKLED, least_px=3), CLEAN)
    assert remove_specks(CLEAN, least_px=20) is CLEAN
    assert remove_specks(SPECKLED, least_px=1) is SPECKLED
    two = remove_specks(SPECKLED, least_px=2)
    assert (two[0, 9], two[3, 8], two[4, 9], two[2, 2]) == (False, True, True, True), "pixels touch by a corner"


def test_what_was_clicked_on_stays_whatever_its_size() -> None:
    wanted = remove_specks(SPECKLED, least_px=3, clicks=[Click(9.5, 0.5)])
    assert (wanted[0, 9], wanted[3, 8], wanted[2, 2]) == (True, False, True)
    hole = remove_specks(SPECKLED, least_px=3, clicks=[Click(2.5, 2.5, is_foreground=False)])
    assert (hole[0, 9], hole[2, 2]) == (False, False)


def test_of_small_islands_alone_the_largest_stays() -> None:
    assert remove_specks(SPECKLED, least_px=1000).sum() == CLEAN.sum()
    empty = np.zeros((4, 5), bool)
    assert remove_specks(empty, least_px=1000) is empty


def test_small_islands_beside_a_click_are_no_answer_to_it() -> None:
    assert not remove_specks(SPECKLED, least_px=1000, clicks=[Click(8.5, 1.5)]).any()
    background = remove_specks(SPECKLED, least_px=1000, clicks=[Click(8.5, 1.5, is_foreground=False)])
    assert np.array_equal(background, CLEAN), "a background click names no object"


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(2, 12))
def test_every_mask_comes_out_as_labelling_its_pixels_has_it(mask: np.ndarray, least_px: int) -> None:
    expected = np.pad(mask, 1)
    holes, count = ndimage.label(~expected)
    for number in range(1, count + 1):
        if number != holes[0, 0] and (holes == number).sum() < least_px:
            expected[holes == number] = True
    islands, count = ndimage.label(expected, structure=np.ones((3, 3)))
    areas = [int((islands == number).sum()) for number in range(1, count + 1)]
    for number, area in enumerate(areas, start=1):
        if area < least_px and number - 1 != areas.index(max(areas)):
            expected[islands == number] = False
    assert np.array_equal(remove_specks(mask, least_px=least_px), expected[1:-1, 1:-1])


@pytest.mark.parametrize("x_px", [0.0, 12.0])
def test_a_click_on_the_images_border_lies_in_its_last_pixel(x_px: float) -> None:
    mask = np.zeros((9, 12), bool)
    mask[2:8, 3:9] = True
    mask[4, [0, 11]] = True
    kept = remove_specks(mask, least_px=5, clicks=[Click(x_px, 4.5)])
    assert kept[4, 0 if x_px == 0 else 11]
    assert not kept[4, 11 if x_px == 0 else 0]
