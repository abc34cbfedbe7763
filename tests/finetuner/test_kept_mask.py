"""Masks that were kept come back as they were, in whatever window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finetuner.kept_mask import KeptMask

masks = hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(mask=masks)
def test_the_window_of_the_whole_image_is_the_mask(mask: np.ndarray) -> None:
    assert (KeptMask.of(mask).window(0, 0, height_px=mask.shape[0], width_px=mask.shape[1]) == mask).all()


@given(mask=masks, y0=st.integers(-9, 50), x0=st.integers(-9, 50), height=st.integers(1, 30), width=st.integers(1, 30))
def test_a_window_may_reach_beyond_the_image(mask: np.ndarray, y0: int, x0: int, height: int, width: int) -> None:
    around = np.pad(mask, 100)
    expected = around[100 + y0 : 100 + y0 + height, 100 + x0 : 100 + x0 + width]
    assert (KeptMask.of(mask).window(y0, x0, height_px=height, width_px=width) == expected).all()


def test_a_mask_of_a_large_image_takes_hardly_any_room() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[100:2900, 100:3900] = True
    assert len(KeptMask.of(mask).deflated) < 10_000
