"""Outlines run along the borders of pixels."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.masks.svg import outline


@given(mask=hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_an_outline_runs_along_every_border_of_a_pixel_and_nowhere_else(mask: np.ndarray) -> None:
    drawn = set()
    for x, y, way, end in re.findall(r"M(\d+) (\d+)([HV])(\d+)", outline(mask)):
        start = int(x) if way == "H" else int(y)
        drawn |= {(way, place, int(y) if way == "H" else int(x)) for place in range(start, int(end))}
    padded = np.pad(mask, 1)
    expected = set()
    for row, column in np.ndindex(*mask.shape):
        if not mask[row, column]:
            continue
        around = padded[row : row + 3, column : column + 3]
        expected |= {("H", column, row)} if not around[0, 1] else set()
        expected |= {("H", column, row + 1)} if not around[2, 1] else set()
        expected |= {("V", row, column)} if not around[1, 0] else set()
        expected |= {("V", row, column + 1)} if not around[1, 2] else set()
    assert drawn == expected
