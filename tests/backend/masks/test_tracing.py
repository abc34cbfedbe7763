"""Traced outlines enclose exactly what is inside, part by part, and are those of the library for any field."""

import itertools

import numpy as np
import shapely
from contourpy import FillType, contour_generator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from backend.masks.tracing import trace

masks = arrays.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))).map(lambda mask: np.pad(mask, 1))


def contoured(inside: np.ndarray) -> shapely.MultiPolygon:
    """What contourpy makes of it; its (0, 0) is the first pixel's centre."""
    generator = contour_generator(z=inside.astype(float), fill_type=FillType.OuterOffset)
    return shapely.MultiPolygon(
        [
            shapely.Polygon(rings[0], rings[1:])
            for points, ends in zip(*generator.filled(0.5, 2.0), strict=True)
            for rings in [[points[a:b] + 0.5 for a, b in itertools.pairwise(ends)]]
        ]
    )


@given(masks)
def test_outlines_are_those_of_a_general_contour_library(inside: np.ndarray) -> None:
    ours, theirs = shapely.MultiPolygon(trace(inside)), contoured(inside)

    assert ours.is_valid
    assert len(ours.geoms) == len(theirs.geoms)
    assert ours.symmetric_difference(theirs).area < 1e-9


@given(masks)
def test_every_pixels_centre_is_on_its_side_of_the_outline(inside: np.ndarray) -> None:
    rows, columns = np.indices(inside.shape)
    found = shapely.contains_xy(shapely.MultiPolygon(trace(inside)), columns + 0.5, rows + 0.5)

    assert np.array_equal(found, inside)


def test_a_part_within_a_hole_is_a_part_of_its_own() -> None:
    inside = np.pad(np.ones((9, 9), np.bool_), 1)
    inside[3:8, 3:8] = False
    inside[5, 5] = True

    parts = sorted(trace(inside), key=lambda part: part.area)

    assert [len(part.interiors) for part in parts] == [0, 1]
