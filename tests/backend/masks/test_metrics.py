"""The measures agree with hand-made cases and with slow definitions written straight from the papers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from scipy.spatial.distance import cdist

from backend.masks.metrics import boundary_iou, dice, hd95_px, iou, over_area, under_area

pairs = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda shape: st.tuples(*[arrays.arrays(bool, shape, elements=st.booleans(), fill=st.booleans())] * 2)
)
MEASURES = [iou, dice, boundary_iou, hd95_px, over_area, under_area]


def square(shape: tuple[int, int], y: int, x: int, side: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def slow_boundary(mask: np.ndarray, ratio: float) -> np.ndarray:
    """mask_to_boundary of Cheng et al.: pad by 1, erode n times by a 3x3 square, subtract."""
    steps = max(1, round(ratio * math.hypot(*mask.shape)))
    padded = np.pad(mask, 1)
    eroded = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=steps, border_value=0)
    return mask & ~eroded[1:-1, 1:-1]


def slow_hd95(pred: np.ndarray, truth: np.ndarray) -> float:
    if not pred.any() and not truth.any():
        return 0.0
    if not pred.any() or not truth.any():
        return math.hypot(*pred.shape)
    edges = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) for mask in (pred, truth)]
    apart = cdist(*edges)
    return float(max(np.percentile(apart.min(axis=1), 95), np.percentile(apart.min(axis=0), 95)))


def test_two_squares_that_share_a_half_have_the_values_made_by_hand() -> None:
    pred, truth = square((20, 20), 5, 5, 4), square((20, 20), 5, 7, 4)
    assert iou(pred, truth) == pytest.approx(8 / 24)
    assert dice(pred, truth) == pytest.approx(16 / 32)
    assert over_area(pred, truth) == pytest.approx(8 / 16)
    assert under_area(pred, truth) == pytest.approx(8 / 16)
    assert hd95_px(pred, truth) == pytest.approx(2.0)


def test_a_band_of_one_pixel_is_the_ring_of_the_square() -> None:
    """A ring has 12 pixels in 20x20 (2 % of 28.3 px rounds to 1); shifted by one, 6 of them coincide: 6 / (24 - 6)."""
    pred, truth = square((20, 20), 5, 5, 4), square((20, 20), 5, 6, 4)
    ring_pred, ring_truth = slow_boundary(pred, 0.02), slow_boundary(truth, 0.02)
    assert ring_pred.sum() == ring_truth.sum() == 12
    assert boundary_iou(pred, truth) == pytest.approx(6 / 18)


def test_the_images_border_is_an_edge() -> None:
    full, all_but_border = np.ones((100, 100), bool), square((100, 100), 1, 1, 98)
    assert slow_boundary(full, 0.02)[0].all()
    assert boundary_iou(full, all_but_border) == pytest.approx(
        iou(slow_boundary(full, 0.02), slow_boundary(all_but_border, 0.02))
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_two_empty_masks_agree(measure: object) -> None:
    empty = np.zeros((9, 7), bool)
    perfect = 1.0 if measure in (iou, dice, boundary_iou) else 0.0
    assert measure(empty, empty) == perfect  # type: ignore[operator]


def test_one_empty_mask_is_the_worst() -> None:
    empty, some = np.zeros((30, 40), bool), square((30, 40), 3, 3, 5)
    for pred, truth in ((empty, some), (some, empty)):
        assert iou(pred, truth) == dice(pred, truth) == boundary_iou(pred, truth) == 0
        assert hd95_px(pred, truth) == 50.0
    assert (over_area(empty, some), under_area(empty, some)) == (0, 1)
    assert (over_area(some, empty), under_area(some, empty)) == (math.inf, 0)


@given(pair=pairs, band=st.sampled_from([0.001, 0.02, 0.1, 0.5]))
def test_boundary_iou_is_the_papers_definition(pair: tuple[np.ndarray, np.ndarray], band: float) -> None:
    slow = iou(slow_boundary(pair[0], band), slow_boundary(pair[1], band))
    assert boundary_iou(*pair, band=band) == pytest.approx(slow)


@given(pair=pairs)
def test_hd95_is_its_definition_over_all_pairs_of_edge_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert hd95_px(*pair) == pytest.approx(slow_hd95(*pair))


def reference_mask_to_boundary(mask: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
    """boundary_utils.mask_to_boundary of the Boundary IoU reference, line by line; cv2.erode is scipy's grey one.

    cv2.copyMakeBorder pads with one row of zeros; cv2.erode takes what is beyond the padded image for foreground.
    """
    height, width = mask.shape
    diagonal = np.sqrt(height**2 + width**2)
    dilation = int(round(dilation_ratio * diagonal))  # noqa: RUF046 - as the reference has it
    dilation = max(dilation, 1)
    eroded = np.pad(mask.astype(np.uint8), 1)
    for _ in range(dilation):
        eroded = ndimage.grey_erosion(eroded, size=(3, 3), mode="constant", cval=255)
    return (mask.astype(np.uint8) - eroded[1:-1, 1:-1]).astype(bool)


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


FIXED = {
    "two discs": (disc((120, 160), 60, 70, 30), disc((120, 160), 62, 74, 28)),
    "a disc and a square over it": (disc((96, 96), 48, 48, 20), square((96, 96), 30, 30, 40)),
    "at the border": (disc((80, 200), 0, 0, 25), disc((80, 200), 5, 0, 22)),
    "two parts and one": (disc((150, 150), 40, 40, 15) | disc((150, 150), 110, 110, 9), disc((150, 150), 40, 42, 15)),
    "a ring and its disc": (
        disc((200, 200), 100, 100, 60) & ~disc((200, 200), 100, 100, 30),
        disc((200, 200), 100, 100, 60),
    ),
    "a picture of 1200 px": (disc((1200, 900), 600, 400, 333), disc((1200, 900), 607, 391, 320)),
}


@pytest.mark.parametrize("name", FIXED)
def test_boundary_iou_is_the_reference_implementations(name: str) -> None:
    pred, truth = FIXED[name]
    ours, theirs = reference_mask_to_boundary(pred), reference_mask_to_boundary(truth)
    assert boundary_iou(pred, truth) == pytest.approx((ours & theirs).sum() / (ours | theirs).sum())


@pytest.mark.parametrize("name", FIXED)
def test_hd95_is_what_scipys_distance_transform_of_whole_pictures_gives(name: str) -> None:
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in FIXED[name]]
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    both = [np.percentile(away[1][edges[0]], 95), np.percentile(away[0][edges[1]], 95)]
    assert hd95_px(*FIXED[name]) == pytest.approx(max(both))


@pytest.mark.parametrize("name", FIXED)
def test_overlaps_are_what_counting_pixels_as_sets_gives(name: str) -> None:
    pred, truth = ({(int(y), int(x)) for y, x in np.argwhere(mask)} for mask in FIXED[name])
    assert iou(*FIXED[name]) == pytest.approx(len(pred & truth) / len(pred | truth))
    assert dice(*FIXED[name]) == pytest.approx(2 * len(pred & truth) / (len(pred) + len(truth)))
    assert over_area(*FIXED[name]) == pytest.approx(len(pred - truth) / len(truth))
    assert under_area(*FIXED[name]) == pytest.approx(len(truth - pred) / len(truth))


@given(pair=pairs)
def test_the_measures_keep_their_ranges_and_symmetry(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for measure in (iou, dice, boundary_iou):
        assert 0 <= measure(*pair) <= 1
        assert measure(*pair) == measure(*pair[::-1])
        assert measure(pair[0], pair[0]) == 1
    assert iou(*pair) <= dice(*pair)
    assert hd95_px(*pair) == hd95_px(*pair[::-1])
    assert hd95_px(pair[0], pair[0]) == over_area(pair[0], pair[0]) == under_area(pair[0], pair[0]) == 0
    assert 0 <= under_area(*pair) <= 1


@given(pair=pairs, dy=st.integers(0, 9), dx=st.integers(0, 9))
def test_hd95_does_not_depend_on_where_the_masks_stand(pair: tuple[np.ndarray, np.ndarray], dy: int, dx: int) -> None:
    if not (pair[0].any() and pair[1].any()):
        return
    padded = [np.pad(mask, ((dy, 3), (dx, 2))) for mask in pair]
    assert hd95_px(*padded) == pytest.approx(hd95_px(*pair))
