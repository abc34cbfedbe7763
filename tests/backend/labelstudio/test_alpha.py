"""A faint mask counts as Label Studio shows it, and an antialiased edge is cut in its middle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from backend.labelstudio.alpha import mask_of_alpha
from backend.labelstudio.rle import decode_mask, encode_mask
from backend.masks.rasterize import fill_ellipse

DISC = fill_ellipse(center_x_px=30.0, center_y_px=25.0, radius_x_px=14.0, radius_y_px=14.0, height_px=50, width_px=60)


def antialiased(mask: np.ndarray, strongest: int) -> np.ndarray:
    return np.rint(ndimage.gaussian_filter(mask * float(strongest), 0.7)).astype(np.uint8)


@pytest.mark.parametrize("value", [1, 2, 99, 100, 127, 128, 255])
def test_a_mask_of_one_alpha_is_all_of_it(value: int) -> None:
    alpha = DISC.astype(np.uint8) * np.uint8(value)
    assert np.array_equal(mask_of_alpha(alpha), DISC)
    assert np.array_equal(decode_mask(encode_mask(alpha), height_px=50, width_px=60), DISC)


def test_strokes_over_a_faint_mask_add_to_it() -> None:
    alpha = DISC.astype(np.uint8) * np.uint8(100)
    alpha[20:30, 40:58] = 255
    stroke = alpha == 255
    assert np.array_equal(mask_of_alpha(alpha), DISC | stroke)


@pytest.mark.parametrize("strongest", [255, 100])
def test_an_antialiased_edge_is_cut_in_its_middle(strongest: int) -> None:
    found = mask_of_alpha(antialiased(DISC, strongest))
    assert abs(int(found.sum()) - int(DISC.sum())) <= 0.02 * DISC.sum()


def test_a_straight_edge_of_one_faint_value_is_an_edge() -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 3:17] = 255
    alpha[4, 3:17] = alpha[5:15, 2] = 90
    assert np.array_equal(mask_of_alpha(alpha), alpha == 255)


@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 4)), value=st.integers(0, 255))
def test_images_of_a_few_pixels_have_masks_too(shape: tuple[int, int], value: int) -> None:
    assert mask_of_alpha(np.full(shape, value, np.uint8)).all() == (value > 0)
