"""A mask that exists already, as SAM takes it for a prompt: logits on the canvas."""

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

# What SAM itself is sure of is about 10 too. Measured with a bite taken out of a true mask, or a blob added, and one
# click in the middle of that: IoU .86 as it stood, .81 by the click and the mask's box alone; with the mask .88, .894
# and .895 at 4, 8 and 14. Without the box .60 at any: SAM does not keep to a mask that comes with a single click.
_SURE = 10.0


def logits_of_mask(mask: Bool[np.ndarray, "h w"], *, frame: Frame) -> Float[Tensor, "g g"]:
    """Bring a mask of the upright image to the canvas: +10 inside, -10 outside, between on the edge.

    A logit is the share that the mask covers of what its grid cell shows of the image, from -10 to 10. The padding in a
    cell at the image's edge does not count: SAM enlarges the logits and cuts the padding off, so a cell that half a
    full mask fills would make it doubt the whole of an image that is 2 px high. A cell of padding alone is -10.
    """
    cell_px = math.ceil(frame.cell_px)
    side_px = frame.grid * cell_px
    # An image that is stretched anyhow is stretched to whole px a cell.
    height, width = frame.size_on_canvas(*mask.shape) if frame.keeps_aspect else (side_px, side_px)
    picture = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    canvas = np.zeros((side_px, side_px), np.float32)
    canvas[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    covered = canvas.reshape(frame.grid, cell_px, frame.grid, cell_px).sum((1, 3)) / 255
    shown = np.outer(*(_px_shown(length, cells=frame.grid, cell_px=cell_px) for length in (height, width)))
    share = covered / np.maximum(shown, 1)
    return torch.from_numpy((2 * share - 1) * np.float32(_SURE))


def _px_shown(length_px: int, *, cells: int, cell_px: int) -> Float[np.ndarray, " {cells}"]:
    """How many px of every cell along a side show the image, which reaches `length_px` px far."""
    begins_px = np.arange(cells, dtype=np.float32) * cell_px
    return np.clip(length_px - begins_px, 0, cell_px)


def with_box(prompt: Prompt) -> Prompt:
    """Give a prompt with a mask and no box the box around the mask and its positive clicks.

    SAM was trained on masks that came with clicks or a box, and does not keep to a mask without: see above. An empty
    mask says nothing, and is left out.
    """
    if prompt.mask is None:
        return prompt
    bounds = find_bounds(prompt.mask)
    if bounds is None:
        return replace(prompt, mask=None)
    if prompt.box is not None:
        return prompt
    box, wanted = bounds.box, [click for click in prompt.clicks if click.is_foreground]
    xs = [box.x0_px, box.x1_px, *(click.x_px for click in wanted)]
    ys = [box.y0_px, box.y1_px, *(click.y_px for click in wanted)]
    return replace(prompt, box=Box(min(xs), min(ys), max(xs), max(ys)))
