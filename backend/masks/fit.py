"""The ellipse of a mask, and a mask without its specks.

Frame: pixels of the upright image; pixel (row, column) has its centre at (column + 0.5, row + 0.5).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from backend.masks.bounds import find_bounds

_SMALLEST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse turned clockwise (y points down) about its centre by `rotation_deg`, in [-45, 45]."""

    center_x_px: float
    center_y_px: float
    radius_x_px: float
    radius_y_px: float
    rotation_deg: float


def without_specks(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask without the connected parts that are smaller than a hundredth of the largest.

    A decoder leaves a few pixels where nobody sees them, and a box or an ellipse would reach out to them. Pixels that
    touch by a side or a corner are connected.
    """
    bounds = find_bounds(mask)
    if bounds is None:
        return mask
    parts, count = ndimage.label(mask[bounds.slices], np.ones((3, 3)))
    if count == 1:
        return mask
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = np.zeros_like(mask)
    kept[bounds.slices] = (sizes >= _SMALLEST_SHARE * sizes.max())[parts] & mask[bounds.slices]
    return kept


def ellipse_of_mask(mask: Bool[np.ndarray, "h w"]) -> Ellipse | None:
    """Return the ellipse with the mask's centre, area and directions of spread, in px; None for an empty mask.

    The second moments of an ellipse are a quarter of its squared radii. For a mask of another shape the radii are
    scaled so that the areas are equal. Of the two ways to name the axes, the result takes the way nearer to upright.
    """
    bounds = find_bounds(mask)
    if bounds is None:
        return None
    crop = mask[bounds.slices]
    in_row, in_column = crop.sum(axis=1), crop.sum(axis=0)
    area_px = int(in_row.sum())
    x, y = np.arange(crop.shape[1], dtype=np.float64), np.arange(crop.shape[0], dtype=np.float64)
    mean_x, mean_y = float(in_column @ x) / area_px, float(in_row @ y) / area_px
    x, y = x - mean_x, y - mean_y
    together = float(y @ (crop @ x)) / area_px
    # A pixel is a unit square, not a point: its own second moment is 1/12.
    across, down = float(in_column @ x**2) / area_px + 1 / 12, float(in_row @ y**2) / area_px + 1 / 12
    variances, axes = np.linalg.eigh(np.array([[across, together], [together, down]]))
    radii = 2 * np.sqrt(variances)
    radii *= math.sqrt(area_px / (math.pi * radii.prod()))
    nearer_x = int(abs(axes[0, 1]) >= abs(axes[0, 0]))
    along_x = axes[:, nearer_x]
    # In (-90, 90]: an axis has no direction.
    rotation_deg = math.degrees(math.atan(along_x[1] / along_x[0]))
    return Ellipse(
        center_x_px=mean_x + bounds.x0_px + 0.5,
        center_y_px=mean_y + bounds.y0_px + 0.5,
        radius_x_px=float(radii[nearer_x]),
        radius_y_px=float(radii[1 - nearer_x]),
        rotation_deg=rotation_deg,
    )
