"""A second look: what is small on a large image is cut out, enlarged, encoded and decoded once more.

On the canvas of 1024 px a logit stands for 4 px, and on a photograph of 4000 px for 15.6 of its pixels: no edge can be
tighter. A crop around the object brings that down to what the crop's own side gives.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.canvas import CANVAS_PX
from backend.sam.predictor import Embedding, PredictedMask, Predictor

_MARGIN = 0.4
_LEAST_SIDE_PX = 256
_LEAST_GAIN = 1.5
_LEAST_AGREEMENT = 0.5


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the upright image: whole pixels, `x0_px <= x < x1_px` and `y0_px <= y < y1_px`."""

    x0_px: int
    y0_px: int
    x1_px: int
    y1_px: int

    def cut(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "ch cw"]:
        """The part of a mask of the image."""
        return mask[self.y0_px : self.y1_px, self.x0_px : self.x1_px]

    def prompt(self, prompt: Prompt) -> Prompt:
        """The prompt in the crop's frame; clicks outside of it are left out, a box is cut to it."""
        width, height = float(self.x1_px - self.x0_px), float(self.y1_px - self.y0_px)
        clicks = tuple(
            Click(x, y, is_foreground=click.is_foreground)
            for click in prompt.clicks
            if 0 <= (x := click.x_px - self.x0_px) <= width and 0 <= (y := click.y_px - self.y0_px) <= height
        )
        box = prompt.box
        inside = None
        if box is not None:
            xs = (min(max(x - self.x0_px, 0.0), width) for x in (box.x0_px, box.x1_px))
            ys = (min(max(y - self.y0_px, 0.0), height) for y in (box.y0_px, box.y1_px))
            (x0, x1), (y0, y1) = xs, ys
            inside = Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
        return Prompt(clicks=clicks, box=inside, mask=None if prompt.mask is None else self.cut(prompt.mask))


def crop_worth_taking(mask: Bool[np.ndarray, "h w"]) -> Crop | None:
    """The square around a mask with two fifths of its longer side left free all round, cut to the image.

    None where it is not worth an encoding: an empty mask, an image that the canvas holds whole, or a crop that is not
    one and a half times as fine as the image. No crop is under 256 px: enlarged more than fourfold, a picture shows SAM
    nothing but blur.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size or max(height, width) <= CANVAS_PX:
        return None
    longer = max(rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
    side = max(_LEAST_SIDE_PX, int(np.ceil(longer * (1 + 2 * _MARGIN))))
    y0, y1 = _span(int(rows[0] + rows[-1] + 1), side, height)
    x0, x1 = _span(int(columns[0] + columns[-1] + 1), side, width)
    finer = max(height, width) / max(y1 - y0, x1 - x0)
    return Crop(x0, y0, x1, y1) if finer >= _LEAST_GAIN else None


def refined(
    first: PredictedMask, prompt: Prompt, *, predictor: Predictor, encode_crop: Callable[[Crop], Embedding]
) -> PredictedMask:
    """Decode an object once more on a crop around its first mask, and put the result back into the whole image.

    The first mask goes along as a mask prompt, so that the object stays the same one. The first answer comes back
    where a crop is not worth it, or where the second pass found something else (IoU with the first under a half): a
    sharper edge of the wrong thing is no gain.

    Args:
        first: what `decode` gave for the prompt.
        prompt: the prompt, in the whole image's pixels.
        predictor: who decodes.
        encode_crop: gives the embedding of a part of the upright image; the caller may keep what it computed.
    """
    crop = crop_worth_taking(first.mask)
    if crop is None:
        return first
    known = crop.cut(first.mask)
    (found,) = predictor.decode(encode_crop(crop), (replace(crop.prompt(prompt), mask=known),))
    both = np.count_nonzero(found.mask & known)
    if both < _LEAST_AGREEMENT * np.count_nonzero(found.mask | known):
        return first
    whole = np.zeros_like(first.mask)
    whole[crop.y0_px : crop.y1_px, crop.x0_px : crop.x1_px] = found.mask
    return replace(found, mask=whole)


def _span(twice_the_middle: int, side: int, size: int) -> tuple[int, int]:
    """Where a span of `side` begins and ends, moved into the image where it sticks out."""
    side = min(side, size)
    start = min(max(0, (twice_the_middle - side) // 2), size - side)
    return start, start + side
