"""From the alpha of a painted mask to the mask that its annotator sees."""

import numpy as np
from jaxtyping import Bool, UInt8

_SOLID = 127  # of 255: the middle of an antialiased edge


def mask_of_alpha(alpha: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask of an alpha in [0, 255], one value a pixel of the image.

    An edge that runs from 0 to full in steps is cut in its middle. A flat area counts however faint it is, for Label
    Studio shows it: tools and palettes write masks of alpha 100, and strokes of 255 are painted over such. Flat is what
    holds 3x3 pixels of one value. Where all is faint, an edge is cut at half of the strongest value.
    """
    counts = np.arange(256) > min(_SOLID, int(alpha.max(initial=0)) // 2)
    counts[_flat_values(alpha)] = True
    return np.asarray(counts[alpha])


def _flat_values(alpha: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, " n"]:
    """The values of faint pixels that have their own value all around them."""
    faint = (alpha > 0) & (alpha <= _SOLID)
    # Of the pixel up and left of the middle, so that the middle and all its neighbours lie in the image.
    rows, columns = np.nonzero(faint[1:-1, 1:-1])
    for down in range(3):
        for right in range(3):
            is_same = alpha[rows + down, columns + right] == alpha[rows + 1, columns + 1]
            rows, columns = rows[is_same], columns[is_same]
    return np.unique(alpha[rows + 1, columns + 1])
