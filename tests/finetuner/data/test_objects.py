"""Masks cut out, packed, and laid on the decoder's grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finetuner.data.objects import LabelledMask, grid_coverage, grid_shape

masks = hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))).filter(np.any)


@given(masks)
def test_a_mask_comes_back_as_it_was(mask: np.ndarray) -> None:
    item = LabelledMask.of(mask, label=None)
    assert np.array_equal(item.mask, mask)
    assert (item.box.x1_px - item.box.x0_px, item.box.y1_px - item.box.y0_px) == item.crop_shape[::-1]


def test_an_empty_mask_is_no_object() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        LabelledMask.of(np.zeros((3, 4), bool), label=None)


@given(masks)
def test_the_grid_covers_the_area_of_the_mask(mask: np.ndarray) -> None:
    coverage = grid_coverage(LabelledMask.of(mask, label=None))
    cell_px = max(mask.shape) / 256
    rows, columns = grid_shape(*mask.shape)
    assert coverage.shape == (rows, columns)
    # Only the last cells may reach beyond the image, and they count what lies inside.
    tall = np.minimum(np.arange(1, rows + 1) * cell_px, mask.shape[0]) - np.arange(rows) * cell_px
    wide = np.minimum(np.arange(1, columns + 1) * cell_px, mask.shape[1]) - np.arange(columns) * cell_px
    assert (tall[:, None] * coverage * wide[None]).sum() == pytest.approx(mask.sum(), rel=1e-3, abs=1e-3)


def test_a_cell_that_is_half_covered_counts_half() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100:102, 201:203] = True  # two of four pixels of either cell
    coverage = grid_coverage(LabelledMask.of(mask, label=None))
    assert coverage[50, 100:102].tolist() == [0.5, 0.5]
    assert coverage.sum() == pytest.approx(1.0)


def test_an_image_of_the_grids_size_is_laid_on_it_pixel_by_pixel() -> None:
    mask = np.random.default_rng(0).random((256, 200)) < 0.3
    assert np.array_equal(grid_coverage(LabelledMask.of(mask, label=None)), mask.astype(np.float32))
