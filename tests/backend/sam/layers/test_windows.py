"""A map cut into windows and put together again is the same map."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.sam.layers.windows import join_windows, split_windows

sizes = st.integers(1, 15)


@given(batch=st.integers(1, 3), height=sizes, width=sizes, window=st.integers(1, 7))
def test_windows_joined_again_are_the_map_they_were_cut_from(batch: int, height: int, width: int, window: int) -> None:
    rows = torch.arange(batch * height * width * 2.0).view(batch, height, width, 2)

    tokens = split_windows(rows, window)

    assert len(tokens) == batch * math.ceil(height / window) * math.ceil(width / window)
    assert torch.equal(join_windows(tokens, window, height=height, width=width), rows)


@given(height=sizes, width=sizes)
def test_a_window_over_the_edge_is_filled_up_with_zeros(height: int, width: int) -> None:
    tokens = split_windows(torch.ones(1, height, width, 1), 4)

    assert int(tokens.sum()) == height * width
