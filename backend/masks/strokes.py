"""Brush strokes to points that stand for them."""

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from backend.masks.prompt import Click
from backend.masks.shapes import box_of_mask

# A stroke is looked at in at most about this many pixels: its points need no finer place.
_MOST_PIXELS = 1 << 18
_CORE = 0.5
_CLOSEST_PX = 2.0


def points_along(stroke: Bool[np.ndarray, "h w"], *, most: int, is_foreground: bool = True) -> tuple[Click, ...]:
    """Return up to `most` points of a stroke, far from its edge and far from each other; none for an empty one.

    The first is the deepest; each further one is, of the pixels at least half as deep, the farthest from all before.
    Frame: pixels of the image that the stroke was drawn on.
    """
    box = box_of_mask(stroke)
    if box is None:
        return ()
    left, top = int(box.x0_px), int(box.y0_px)
    crop = stroke[top : int(box.y1_px), left : int(box.x1_px)]
    stride = max(1, int(np.ceil(np.sqrt(crop.size / _MOST_PIXELS))))
    seen = crop[::stride, ::stride]
    if not seen.any():
        # Thinner than the stride, and between its rows: one pixel stands for it.
        row, column = np.unravel_index(int(crop.argmax()), crop.shape)
        return (Click(float(column) + left + 0.5, float(row) + top + 0.5, is_foreground),)
    depth = ndimage.distance_transform_edt(np.pad(seen, 1))[1:-1, 1:-1]
    core = np.argwhere(depth >= _CORE * depth.max())
    chosen = [int(depth[tuple(core.T)].argmax())]
    distance = np.hypot(*(core - core[chosen[0]]).T)
    while len(chosen) < most and distance.max() * stride > _CLOSEST_PX:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.hypot(*(core - core[chosen[-1]]).T))
    return tuple(
        Click(float(column * stride) + left + 0.5, float(row * stride) + top + 0.5, is_foreground)
        for row, column in core[chosen].tolist()
    )
