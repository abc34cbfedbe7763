"""How far a mask is from the truth. Every measure takes two bool masks of one shape, in whatever memory order.

The slow measures look at the bounding box of the two masks only: thousands of small objects in large images are quick.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from backend.masks.bounds import find_bounds

_Crop = tuple[slice, slice]


def iou(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union, in [0, 1]; two empty masks give 1."""
    both, total = _areas_px(pred, truth)
    return both / (total - both) if total else 1.0


def dice(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Twice the intersection over the sum of the areas, in [0, 1]; two empty masks give 1."""
    both, total = _areas_px(pred, truth)
    return 2 * both / total if total else 1.0


def boundary_iou(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], *, band: float = 0.02) -> float:
    """IoU of the two inner bands along the edges, in [0, 1]; two empty masks give 1.

    The band lies inside the mask and is `max(1, round(band * diagonal))` px wide: it holds what that many erosions by a
    3x3 square take away. Whatever lies beyond the image counts as outside, so the image's border is an edge too.

    Source: Cheng et al. 2021, "Boundary IoU", equation 4, and its `mask_to_boundary`,
    https://github.com/bowenc0221/boundary-iou-api/blob/master/boundary_iou/utils/boundary_utils.py
    """
    crop = _crop(pred, truth)
    if crop is None:
        return 1.0
    width_px = max(1, round(band * math.hypot(*pred.shape)))
    return iou(_inner_band(pred[crop], width_px), _inner_band(truth[crop], width_px))


def hd95_px(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """95th percentile of the distances from one mask's edge to the edge of the other, in px; the larger of both ways.

    An edge pixel belongs to the mask and has one of its 4 neighbours outside; the image's border is outside. Two empty
    masks give 0; a single empty mask gives the image's diagonal, the farthest that two pixels can be apart.

    Source: Huttenlocher et al. 1993, "Comparing Images Using the Hausdorff Distance", the partial distance of ranked
    points, at the rank of 95 %.
    """
    crop = _crop(pred, truth)
    if crop is None:
        return 0.0
    if not (pred.any() and truth.any()):
        return math.hypot(*pred.shape)
    ours, theirs = _edge(pred[crop]), _edge(truth[crop])
    to_theirs, to_ours = _distance_px(theirs)[ours], _distance_px(ours)[theirs]
    return float(max(np.percentile(to_theirs, 95), np.percentile(to_ours, 95)))


def over_area(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """|pred outside of truth| / |truth|, at least 0: 0 is tight. An empty truth gives 0 for an empty pred, else inf."""
    return _share(int(np.count_nonzero(pred & ~truth)), int(np.count_nonzero(truth)))


def under_area(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """|truth outside of pred| / |truth|, in [0, 1]: 0 leaves nothing out. An empty truth gives 0."""
    return _share(int(np.count_nonzero(truth & ~pred)), int(np.count_nonzero(truth)))


def _areas_px(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """The area that both masks cover, and the sum of their areas: two passes fewer than their union takes."""
    return int(np.count_nonzero(pred & truth)), int(np.count_nonzero(pred)) + int(np.count_nonzero(truth))


def _share(part: int, whole: int) -> float:
    if whole == 0:
        return math.inf if part else 0.0
    return part / whole


def _crop(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> _Crop | None:
    """The bounding box of both masks; None where both are empty.

    The crop loses nothing. No mask reaches beyond it, so its border is an edge of whatever touches it: the image's
    border, or the first row that neither mask fills.
    """
    ours, theirs = find_bounds(pred), find_bounds(truth)
    if ours is not None and theirs is not None:
        return ours.join(theirs).slices
    either = ours or theirs
    return None if either is None else either.slices


def _inner_band(mask: Bool[np.ndarray, "h w"], width_px: int) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask within `width_px` of its outside, by the chessboard distance.

    Eroding n times by a 3x3 square is one erosion by a square of 2n + 1, and that is two one-dimensional minima.
    """
    reach = 2 * width_px + 1
    along = ndimage.minimum_filter1d(mask.view(np.uint8), reach, axis=1, mode="constant", cval=0)
    inside = ndimage.minimum_filter1d(along, reach, axis=0, mode="constant", cval=0)
    return np.asarray(mask & (inside == 0))


def _edge(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Four shifted comparisons: scipy's general erosion takes five times as long."""
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return np.asarray(mask & ~inside)


def _distance_px(edge: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return np.asarray(ndimage.distance_transform_edt(~edge))
