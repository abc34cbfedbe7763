"""A mask that exists already, as SAM takes it for a prompt: logits on the canvas."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from backend.sam.canvas import CANVAS_PX, LOGITS_PX, size_on_canvas

_SURE = 10.0


def logits_of_mask(mask: Bool[np.ndarray, "h w"]) -> Float[Tensor, "256 256"]:
    """Bring a mask of the upright image to the canvas: +10 inside, -10 outside, between on the edge.

    One logit stands for 4x4 px of the canvas, and is the share of them that the mask covers, from -10 to 10.
    """
    height, width = size_on_canvas(*mask.shape)
    picture = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.float32)
    canvas[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    cell_px = CANVAS_PX // LOGITS_PX
    covered = canvas.reshape(LOGITS_PX, cell_px, LOGITS_PX, cell_px).mean((1, 3)) / 255
    return torch.from_numpy((2 * covered - 1) * _SURE)
