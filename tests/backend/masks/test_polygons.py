"""Masks become simple polygons that hold the mask: holes opened by slits, no crossing, within the tolerance."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from backend.masks.metrics import iou
from backend.masks.polygons import MOST_PARTS, polygons_of_mask
from backend.masks.rasterize import fill_ellipse, fill_polygon


def filled(polygons: tuple[np.ndarray, ...], shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        mask |= fill_polygon(polygon, height_px=shape[0], width_px=shape[1])
    return mask


def disc(side_px: int, radius_px: float, *, x: float = 0.5, y: float = 0.5) -> np.ndarray:
    return fill_ellipse(
        center_x_px=x * side_px,
        center_y_px=y * side_px,
        radius_x_px=float(radius_px),
        radius_y_px=float(radius_px),
        height_px=side_px,
        width_px=side_px,
    )


@st.composite
def blobs(draw: st.DrawFn) -> np.ndarray:
    """Masks as a decoder makes them: smooth, with holes, in parts, some cut by the image's border."""
    height, width = draw(st.integers(4, 80)), draw(st.integers(4, 80))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((height, width))
    smooth = ndimage.gaussian_filter(noise, draw(st.floats(0.0, 6.0)))
    return smooth > np.quantile(smooth, draw(st.floats(0.05, 0.95)))


def without_specks(mask: np.ndarray) -> np.ndarray:
    """The mask with parts and holes of a tenth of its area at least, told apart where they touch at corners only."""
    for _ in range(20):
        before = mask
        for value in (True, False):
            parts, count = ndimage.label(mask == value)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)
            small = [n for n in range(1, count + 1) if sizes[n] < max(9, 0.1 * mask.sum())]
            mask = mask ^ np.isin(parts, small)
        if np.array_equal(before, mask):
            return mask
    return np.zeros_like(mask)


@settings(deadline=None)
@given(mask=blobs(), tolerance_px=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 20.0]))
def test_polygons_never_cross_themselves_and_have_no_holes(mask: np.ndarray, tolerance_px: float) -> None:
    for points in polygons_of_mask(mask, tolerance_px=tolerance_px):
        assert len(points) >= 3
        ring = shapely.LinearRing(points)
        assert ring.is_simple
        assert shapely.Polygon(points).is_valid
        assert (points >= 0).all()
        assert (points <= mask.shape[::-1]).all()


@settings(deadline=None)
@given(blobs())
def test_without_tolerance_every_pixel_comes_back(mask: np.ndarray) -> None:
    mask = without_specks(mask)
    polygons = polygons_of_mask(mask, tolerance_px=0.0)
    assert np.array_equal(filled(polygons, mask.shape), mask)


@settings(deadline=None)
@given(blobs(), st.sampled_from([0.5, 1.0, 2.0]))
def test_no_outline_strays_farther_than_the_tolerance(mask: np.ndarray, tolerance_px: float) -> None:
    """Pixels whose centre is farther from the outline than tolerance and slit stay on their side."""
    mask = without_specks(mask)
    polygons = polygons_of_mask(mask, tolerance_px=tolerance_px)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    height = ndimage.distance_transform_edt(~mask)
    found = filled(polygons, mask.shape)
    assert found[depth > tolerance_px + 1].all()
    assert not found[height > tolerance_px + 1].any()


def test_a_ring_stays_a_ring_by_a_slit() -> None:
    ring = disc(200, 80) & ~disc(200, 40)
    (points,) = polygons_of_mask(ring, tolerance_px=0.5)
    assert iou(filled((points,), ring.shape), ring) > 0.98
    assert not filled((points,), ring.shape)[100, 100]


def test_a_sieve_keeps_its_holes() -> None:
    sieve = disc(200, 95)
    for y in np.linspace(0.3, 0.7, 4):
        for x in np.linspace(0.3, 0.7, 5):
            sieve &= ~disc(200, 9, x=float(x), y=float(y))
    (points,) = polygons_of_mask(sieve, tolerance_px=0.0)
    assert shapely.LinearRing(points).is_simple
    assert np.array_equal(filled((points,), sieve.shape), sieve)


def test_the_largest_part_comes_first_and_specks_are_left_out() -> None:
    mask = disc(300, 20, x=0.2) | disc(300, 60, x=0.7)
    mask[5:7, 5:7] = True
    large, small = polygons_of_mask(mask, tolerance_px=0.5)
    assert shapely.Polygon(large).area > shapely.Polygon(small).area > 1000


def test_a_chessboard_gives_at_most_sixteen_polygons() -> None:
    board = np.indices((300, 300)).sum(axis=0) // 10 % 2 == 0
    assert 1 <= len(polygons_of_mask(board, tolerance_px=0.5)) <= MOST_PARTS


def test_noise_of_a_megapixel_is_bounded() -> None:
    noise = np.random.default_rng(0).random((1000, 1000)) > 0.5
    assert len(polygons_of_mask(noise, tolerance_px=1.0)) <= MOST_PARTS


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 5)])
def test_a_full_image_is_its_rectangle_but_for_the_corners(shape: tuple[int, int]) -> None:
    mask = np.ones(shape, bool)
    (points,) = polygons_of_mask(mask, tolerance_px=0.5)
    assert np.array_equal(filled((points,), shape), mask)


def test_an_empty_mask_gives_nothing() -> None:
    assert polygons_of_mask(np.zeros((4, 4), bool), tolerance_px=1.0) == ()


def test_a_mask_of_seventy_megapixels_is_outlined_within_a_few_pixels() -> None:
    mask = np.zeros((7000, 10000), bool)
    mask[100:6900, 50:9900] = True
    (points,) = polygons_of_mask(mask, tolerance_px=1.0)
    box = shapely.Polygon(points).bounds
    assert box == pytest.approx((50, 100, 9900, 6900), abs=3)
