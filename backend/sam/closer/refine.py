"""Takes a second look at a small object on a large image: cuts it out, enlarges it, encodes and decodes it again.

On SAM's canvas of 1024 px, a logit covers 4 px. On a photograph 4000 px wide, these are 15.6 px, and no edge can be
tighter. A crop around the object fills the canvas, so its edges are tighter in proportion.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from backend.masks.bounds import find_bounds
from backend.masks.crop import Crop
from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame
from backend.sam.predicted import Decodes, PredictedMask

_MARGIN = 0.4
_LEAST_SIDE_PX = 256
_LEAST_GAIN = 1.5
_LEAST_AGREEMENT = 0.5


def crop_worth_taking(mask: Bool[np.ndarray, "h w"], *, frame: Frame) -> Crop | None:
    """Find a square around a mask, with a margin of at least a quarter of the mask's longer side, cut to the image.

    Its side is at least 256 px: an image that is enlarged more than fourfold shows SAM only blur. Sides come in steps
    of half an octave and places in eighths of a side, so the next click on the same object usually finds the same crop
    in the cache.

    Args:
        mask: in the frame of the upright image.
        frame: of the family whose encoder would see the crop.

    Returns:
        The crop; None if it is not worth an encoding, because the mask is empty, the image is no larger than the
        canvas, or the crop would be less than one and a half times as fine as the image.
    """
    height, width = mask.shape
    if max(height, width) <= frame.canvas_px or (bounds := find_bounds(mask)) is None:
        return None
    longer = max(bounds.height_px, bounds.width_px)
    octaves = max(0.0, math.log2(longer * (1 + 2 * _MARGIN) / _LEAST_SIDE_PX))
    side = round(_LEAST_SIDE_PX * 2 ** (math.ceil(2 * octaves) / 2))
    y0, y1 = _span((bounds.y0_px + bounds.y1_px) // 2, side, height)
    x0, x1 = _span((bounds.x0_px + bounds.x1_px) // 2, side, width)
    finer = max(height, width) / max(y1 - y0, x1 - x0)
    return Crop(x0, y0, x1, y1) if finer >= _LEAST_GAIN else None


def refine_mask(
    first: PredictedMask, prompt: Prompt, *, predictor: Decodes, frame: Frame, encode_crop: Callable[[Crop], Embedding]
) -> PredictedMask:
    """Decode an object again on a crop around its first mask, and put the result back into the whole image.

    For a prompt with a box or a mask, the first mask becomes a mask prompt. If the second mask then shows something
    else (an IoU below a half with the first), the first answer stays: a sharper edge of the wrong thing is no gain. For
    a prompt of clicks alone, the first mask is not used: on a large image it often shows another object, and would
    mislead. The first answer also stays if no crop is worth an encoding.

    Measured with mobile-sam on a collage of 4000x3000 px of real images at their own scale. IoU and Boundary IoU with a
    band of 10 px, before and after: coins and bricks by their box .87/.56 and .94/.77, by one click .41/.23 and
    .84/.59; nuclei by their box .62/.61 and .79/.78, by one click .01/.01 and .47/.46. There are few objects, because
    every object needs an encoding (`python tests/benchmarks/refinement.py`).

    Args:
        first: the answer of `decode` to the prompt.
        prompt: in px of the whole image.
        predictor: decodes.
        frame: how the predictor's base lays out images.
        encode_crop: returns the embedding of a part of the upright image; the caller may cache embeddings.

    Returns:
        The first mask, or a mask of the same size whose logits are in the frame of the crop's grid.
    """
    crop = crop_worth_taking(first.mask, frame=frame)
    if crop is None:
        return first
    known, inside = crop.cut(first.mask), crop.prompt(prompt)
    is_sure = inside.box is not None or inside.mask is not None
    if not is_sure and not inside.clicks:
        return first
    (second,) = predictor.decode(encode_crop(crop), (replace(inside, mask=known) if is_sure else inside,))
    both, either = np.count_nonzero(second.mask & known), np.count_nonzero(second.mask | known)
    if not second.mask.any() or (is_sure and both < _LEAST_AGREEMENT * either):
        return first
    height, width = first.mask.shape
    return replace(second, mask=crop.place(second.mask, height_px=height, width_px=width))


def _span(middle: int, side: int, size: int) -> tuple[int, int]:
    """Return where a span of `side` around `middle` begins and ends, after moving it into the image."""
    side, step = min(side, size), max(1, side // 8)
    start = round((middle - side / 2) / step) * step
    start = min(max(0, start), size - side)
    return start, start + side
