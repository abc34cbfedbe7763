"""Set cells of masks, counted by NumPy and by PyTorch."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from backend.sam.layers.counting import count_set, to_countable


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_both_ways_count_what_is_set_in_every_mask(masks: np.ndarray) -> None:
    expected = [int(mask.sum()) for mask in masks]
    assert count_set(masks).tolist() == expected
    assert count_set(torch.from_numpy(masks)).tolist() == expected


@given(st.floats(-2, 2))
def test_values_on_a_cpu_are_viewed_and_not_copied(value: float) -> None:
    values = torch.zeros(2, 3)
    countable = to_countable(values)
    values[1, 2] = value
    assert isinstance(countable, np.ndarray)
    assert countable[1, 2] == np.float32(value)
