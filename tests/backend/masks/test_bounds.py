"""A mask's bounding box holds all of it and nothing to spare; its deepest pixel is the farthest from the edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from backend.masks.bounds import Bounds, DeepPixel, find_bounds, find_deepest_pixel, measure_depth
from backend.masks.prompt import Box, Click

masks = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@given(mask=masks)
def test_bounds_hold_every_pixel_and_touch_the_mask_on_all_four_sides(mask: np.ndarray) -> None:
    bounds = find_bounds(mask)
    assert (bounds is None) == (not mask.any())
    if bounds is not None:
        inside = mask[bounds.slices]
        assert inside.shape == (bounds.height_px, bounds.width_px)
        assert np.count_nonzero(inside) == np.count_nonzero(mask)
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


@given(first=masks, second=masks)
def test_joined_bounds_are_those_of_both_masks_at_once(first: np.ndarray, second: np.ndarray) -> None:
    canvas = np.zeros((2, 24, 24), bool)
    canvas[0, : first.shape[0], : first.shape[1]] = first
    canvas[1, : second.shape[0], : second.shape[1]] = second
    ours, theirs = find_bounds(canvas[0]), find_bounds(canvas[1])
    if ours is not None and theirs is not None:
        assert ours.join(theirs) == theirs.join(ours) == find_bounds(canvas.any(axis=0))


def test_the_box_of_bounds_goes_along_the_outer_edges_of_the_outermost_pixels() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    bounds = find_bounds(mask)
    assert bounds == Bounds(y0_px=2, x0_px=4, y1_px=3, x1_px=5)
    assert bounds.box == Box(4.0, 2.0, 5.0, 3.0)


def nearest_outside_px(mask: np.ndarray) -> np.ndarray:
    """The depth of every pixel by comparing it with every pixel outside."""
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    depth = np.zeros(mask.shape)
    for row, column in np.argwhere(mask):
        depth[row, column] = np.hypot(*(outside - (row, column)).T).min()
    return depth


@given(mask=masks)
def test_depth_is_the_distance_to_the_nearest_centre_outside(mask: np.ndarray) -> None:
    assert measure_depth(mask) == pytest.approx(nearest_outside_px(mask))


@given(mask=masks)
def test_no_pixel_is_deeper_than_the_deepest_and_none_before_it_is_as_deep(mask: np.ndarray) -> None:
    pixel = find_deepest_pixel(mask)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    assert (pixel is None) == (not mask.any())
    if pixel is not None:
        assert pixel.depth_px == depth.max() == depth[pixel.row, pixel.column]
        assert pixel.row * mask.shape[1] + pixel.column == depth.argmax()


def test_the_middle_of_a_square_at_the_images_border_is_its_deepest_pixel() -> None:
    mask = np.zeros((20, 30), bool)
    mask[:5, 25:] = True
    pixel = find_deepest_pixel(mask)
    assert pixel == DeepPixel(row=2, column=27, depth_px=3.0)
    assert pixel.centre == Click(27.5, 2.5, is_foreground=True)
