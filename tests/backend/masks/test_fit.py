"""Ellipses of masks: a true ellipse comes back, whatever its turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.masks.fit import ellipse_of_mask, without_specks
from backend.masks.metrics import iou
from backend.masks.rasterize import fill_ellipse


def again(mask: np.ndarray) -> np.ndarray:
    ellipse = ellipse_of_mask(mask)
    assert ellipse is not None
    return fill_ellipse(
        center_x_px=ellipse.center_x_px,
        center_y_px=ellipse.center_y_px,
        radius_x_px=ellipse.radius_x_px,
        radius_y_px=ellipse.radius_y_px,
        rotation_deg=ellipse.rotation_deg,
        height_px=mask.shape[0],
        width_px=mask.shape[1],
    )


@settings(deadline=None)
@given(
    x=st.floats(60, 90),
    y=st.floats(60, 90),
    along=st.floats(8, 55),
    across=st.floats(8, 55),
    rotation=st.floats(-720, 720),
)
def test_a_true_ellipse_comes_back(x: float, y: float, along: float, across: float, rotation: float) -> None:
    mask = fill_ellipse(
        center_x_px=x,
        center_y_px=y,
        radius_x_px=along,
        radius_y_px=across,
        rotation_deg=rotation,
        height_px=150,
        width_px=160,
    )
    ellipse = ellipse_of_mask(mask)
    assert ellipse is not None
    assert iou(again(mask), mask) > 0.97
    assert -45 <= ellipse.rotation_deg <= 45
    assert (ellipse.center_x_px, ellipse.center_y_px) == pytest.approx((x, y), abs=0.3)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_mask_has_an_ellipse_of_its_area(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((generator.integers(1, 20), generator.integers(1, 20))) < generator.random()
    ellipse = ellipse_of_mask(mask)
    assert (ellipse is None) == (not mask.any())
    if ellipse is not None:
        assert np.pi * ellipse.radius_x_px * ellipse.radius_y_px == pytest.approx(mask.sum())


def test_one_pixel_is_a_disc_of_its_area() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    assert np.array_equal(again(mask), mask)


def test_the_fill_of_a_large_mask_does_not_overflow() -> None:
    mask = np.ones((4000, 3000), bool)
    ellipse = ellipse_of_mask(mask)
    assert ellipse is not None
    assert (ellipse.center_x_px, ellipse.center_y_px) == pytest.approx((1500, 2000))
    assert ellipse.radius_y_px / ellipse.radius_x_px == pytest.approx(4 / 3, rel=1e-6)


def test_a_speck_far_away_counts_for_neither() -> None:
    mask = np.zeros((100, 120), bool)
    mask[10:40, 10:50] = mask[60:70, 90:100] = True
    clean = mask.copy()
    mask[98, 118] = mask[5, 60] = True
    assert np.array_equal(without_specks(mask), clean)
    assert np.array_equal(without_specks(clean), clean)


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.eye(150, dtype=bool)
    assert np.array_equal(without_specks(mask), mask)


def test_an_empty_mask_has_no_ellipse_and_no_specks() -> None:
    assert ellipse_of_mask(np.zeros((3, 3), bool)) is None
    assert not without_specks(np.zeros((3, 3), bool)).any()
