"""Masks that were kept come back as they were, in whatever window."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.masks.bounds import find_bounds
from backend.masks.packed import KeptMask, PackedMask

masks = hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(mask=masks)
def test_the_window_of_the_whole_image_is_the_mask(mask: np.ndarray) -> None:
    assert (KeptMask.of(mask).window(0, 0, height_px=mask.shape[0], width_px=mask.shape[1]) == mask).all()


@given(mask=masks, y0=st.integers(-9, 50), x0=st.integers(-9, 50), height=st.integers(1, 30), width=st.integers(1, 30))
def test_a_window_may_reach_beyond_the_image(mask: np.ndarray, y0: int, x0: int, height: int, width: int) -> None:
    around = np.pad(mask, 100)
    expected = around[100 + y0 : 100 + y0 + height, 100 + x0 : 100 + x0 + width]
    assert (KeptMask.of(mask).window(y0, x0, height_px=height, width_px=width) == expected).all()


@given(mask=masks, row=st.integers(0, 9), column=st.integers(0, 9))
def test_a_part_of_an_image_is_packed_where_it_lies(mask: np.ndarray, row: int, column: int) -> None:
    image = np.pad(mask, ((row, 0), (column, 0)))
    packed = PackedMask.of(mask, at=(row, column))
    assert packed == PackedMask.of(image)
    assert packed.bounds == find_bounds(image)
    assert packed.area_px == np.count_nonzero(mask)
    if packed.bounds is not None:
        assert (packed.crop == image[packed.bounds.slices]).all()


@given(mask=masks)
def test_deflating_loses_nothing(mask: np.ndarray) -> None:
    assert KeptMask.of(mask).inflate() == PackedMask.of(mask)


def test_a_mask_of_a_large_image_takes_hardly_any_room() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[100:2900, 100:3900] = True
    assert len(KeptMask.of(mask).deflated) < 10_000


@given(mask=masks)
def test_a_mask_comes_back_from_a_file_as_it_was(mask: np.ndarray) -> None:
    kept = KeptMask.of(mask)
    assert KeptMask.of_json(json.loads(json.dumps(kept.to_json()))) == kept
    assert kept.area_px == np.count_nonzero(mask)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([0, 0, 4, 4, "not base64!"], "cannot be inflated"),
        ([0, 0, 4, 4, base64.b64encode(b"no deflate").decode()], "cannot be inflated"),
        ([0, 0, 4, 4, base64.b64encode(zlib.compress(bytes(1 << 20))).decode()], "holds 3 bytes, not 2"),
        ([0, 0, 400, 4, base64.b64encode(zlib.compress(bytes(2))).decode()], "holds 2 bytes, not 200"),
        ([-1, 0, 4, 4, ""], "is no kept mask"),
        ([0, 0, 1 << 20, 1 << 20, ""], "is no kept mask"),
        ({"y0": 1}, "is no kept mask"),
    ],
)
def test_what_is_no_kept_mask_is_refused_before_it_is_held(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KeptMask.of_json(value)
