"""Turns an existing mask into a prompt for SAM: logits on the canvas."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from backend.masks.bounds import find_bounds
from backend.masks.prompt import Box, Prompt
from backend.sam.frame import Frame

# SAM's own logits are about 10 where it is sure. Measured on true masks with a bite or a blob, and one click in the
# middle of the bite or blob. IoU of the mask as it was: .86; by the click and the mask's box alone: .81; with the mask
# too, at logits of 4, 8 and 14: .88, .894 and .895. Without the box: .60, whatever the logits, because SAM does not
# stick to a mask that comes with a single click.
_SURE = 10.0


def logits_of_mask(mask: Bool[np.ndarray, "h w"], *, frame: Frame) -> Float[Tensor, "g g"]:
    """Bring a mask to the canvas.

    Args:
        mask: over the upright image.
        frame: of the family that will take the prompt.

    Returns:
        Float32 logits in the frame of the grid, from -10 outside to 10 inside, in proportion to the share of the grid
        cell that the mask covers. Padding in a cell at the image's edge does not count: SAM cuts it off later, and a
        full mask of an image 2 px high must not look half empty. A cell of padding alone is -10.
    """
    cell_px = math.ceil(frame.cell_px)
    side_px = frame.grid * cell_px
    # A frame that stretches images may as well stretch them to whole px a cell.
    height, width = frame.size_on_canvas(*mask.shape) if frame.keeps_aspect else (side_px, side_px)
    image = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    canvas = np.zeros((side_px, side_px), np.float32)
    canvas[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    covered = canvas.reshape(frame.grid, cell_px, frame.grid, cell_px).sum((1, 3)) / 255
    shown = np.outer(*(_px_shown(length, cells=frame.grid, cell_px=cell_px) for length in (height, width)))
    share = covered / np.maximum(shown, 1)
    return torch.from_numpy((2 * share - 1) * np.float32(_SURE))


def _px_shown(length_px: int, *, cells: int, cell_px: int) -> Float[np.ndarray, " {cells}"]:
    """How many px of every cell along a side show an image of `length_px` px."""
    begins_px = np.arange(cells, dtype=np.float32) * cell_px
    return np.clip(length_px - begins_px, 0, cell_px)


def with_box(prompt: Prompt) -> Prompt:
    """Add a box to a prompt that has a mask and no box.

    SAM learnt masks together with clicks or a box, and does not stick to a mask without a box: see `_SURE`.

    Args:
        prompt: in image px.

    Returns:
        The prompt with the box around its mask and its foreground clicks, in image px. Without its mask, if that is
        empty. A prompt without a mask, or with a box, stays as it is.
    """
    if prompt.mask is None:
        return prompt
    bounds = find_bounds(prompt.mask)
    if bounds is None:
        return replace(prompt, mask=None)
    if prompt.box is not None:
        return prompt
    box, foreground = bounds.box, [click for click in prompt.clicks if click.is_foreground]
    xs = [box.x0_px, box.x1_px, *(click.x_px for click in foreground)]
    ys = [box.y0_px, box.y1_px, *(click.y_px for click in foreground)]
    return replace(prompt, box=Box(min(xs), min(ys), max(xs), max(ys)))
