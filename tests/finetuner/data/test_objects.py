"""Masks cut out, packed, and laid on the decoder's grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.sam.frame import SAM_FRAME
from backend.sam.scoring import stability
from finetuner.data.objects import LabelledMask, grid_coverage

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
    coverage = grid_coverage(LabelledMask.of(mask, label=None), frame=SAM_FRAME)
    down, across = SAM_FRAME.image_px_per_cell(*mask.shape)
    rows, columns = SAM_FRAME.grid_reached(*mask.shape)
    assert coverage.shape == (rows, columns)
    # Only the last cells may reach beyond the image, and they count what lies inside.
    tall = np.minimum(np.arange(1, rows + 1) * down, mask.shape[0]) - np.arange(rows) * down
    wide = np.minimum(np.arange(1, columns + 1) * across, mask.shape[1]) - np.arange(columns) * across
    assert (tall[:, None] * coverage * wide[None]).sum() == pytest.approx(mask.sum(), rel=1e-3, abs=1e-3)


def test_a_cell_that_is_half_covered_counts_half() -> None:
    mask = np.zeros((512, 512), bool)
    mask[100:102, 201:203] = True  # two of four pixels of either cell
    coverage = grid_coverage(LabelledMask.of(mask, label=None), frame=SAM_FRAME)
    assert coverage[50, 100:102].tolist() == [0.5, 0.5]
    assert coverage.sum() == pytest.approx(1.0)


def test_an_image_of_the_grids_size_is_laid_on_it_pixel_by_pixel() -> None:
    mask = np.random.default_rng(0).random((256, 200)) < 0.3
    assert np.array_equal(grid_coverage(LabelledMask.of(mask, label=None), frame=SAM_FRAME), mask.astype(np.float32))


def test_training_sees_as_many_cells_of_an_image_as_serving_does() -> None:
    """On the canvas 111x200 px become 568x1024, which 142 rows of cells show; 143 rows would hold one of padding."""
    undecided_below = torch.ones(256, 256) * 9
    undecided_below[142:] = 0.0
    assert stability(undecided_below, frame=SAM_FRAME, height_px=111, width_px=200) == 1.0
    coverage = grid_coverage(LabelledMask.of(np.ones((111, 200), bool), label=None), frame=SAM_FRAME)
    assert coverage.shape == (142, 256)
    assert coverage.min() == pytest.approx(1.0)
