"""Turns the alpha of a painted mask into the mask that its annotator sees."""

import numpy as np
from jaxtyping import Bool, UInt8

_SOLID = 127  # of 255: the middle of an antialiased edge


def mask_of_alpha(alpha: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask that people see for an alpha in [0, 255], one value a pixel of the image.

    A soft edge is cut in its middle: above 127, or above half of the largest value where the whole alpha is faint. A
    flat area, 3x3 pixels of the same value, counts however faint it is, because Label Studio shows it: tools and
    palettes write masks of alpha 100, and people paint strokes of 255 over them.
    """
    counts = np.arange(256) > min(_SOLID, int(alpha.max(initial=0)) // 2)
    counts[_flat_values(alpha)] = True
    return np.asarray(counts[alpha])


def _flat_values(alpha: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, " n"]:
    """The values of faint pixels whose eight neighbours have the same value."""
    faint = (alpha > 0) & (alpha <= _SOLID)
    # The indices of the pixel up and left of the middle: the middle and all its neighbours then lie in the image.
    rows, columns = np.nonzero(faint[1:-1, 1:-1])
    for down in range(3):
        for right in range(3):
            is_same = alpha[rows + down, columns + right] == alpha[rows + 1, columns + 1]
            rows, columns = rows[is_same], columns[is_same]
    return np.unique(alpha[rows + 1, columns + 1])
