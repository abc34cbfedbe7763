"""Lays an image on the canvas that an encoder sees, and turns logits on the canvas into a mask of the image.

The steps are those of segment-anything's `ResizeLongestSide`, `Sam.preprocess` and `Sam.postprocess_masks`, because the
weights learnt with them. The family gives the numbers, such as the canvas' side: `frame.Frame`.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from backend.sam.enlarge import enlarge, enlarge_above_zero
from backend.sam.frame import Frame


def pixels_on_canvas(image: Image.Image, *, frame: Frame) -> Float[Tensor, "1 3 side side"]:
    """Resize, normalise and pad an image (`ResizeLongestSide.apply_image`, `Sam.preprocess`).

    Args:
        image: upright, of any mode that converts to RGB.
        frame: of the family whose encoder will see the pixels.

    Returns:
        Float32 on the CPU, channels last in memory, in the frame of the canvas. The image lies at the top left; the
        mean is subtracted and the result divided by the deviation, which gives about -2.2 to 2.7. Zeros fill the space
        right of it and below.
    """
    height, width = frame.size_on_canvas(image.height, image.width)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    canvas = np.zeros((frame.canvas_px, frame.canvas_px, 3), np.float32)
    # Whole rows, whose three channels repeat: numpy takes five times as long for the three numbers of pixel by pixel.
    values = canvas.reshape(frame.canvas_px, -1)[:height, : 3 * width]
    mean, std = (np.tile(np.array(channels, np.float32), width) for channels in (frame.mean, frame.std))
    np.subtract(np.asarray(resized).reshape(height, -1), mean, out=values)
    values /= std
    return torch.from_numpy(canvas).permute(2, 0, 1)[None]


def mask_of_logits(
    logits: Float[Tensor, "g g"], *, frame: Frame, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Enlarge logits to the image, bilinearly.

    A canvas with padding takes the two steps of `Sam.postprocess_masks`; a canvas without takes one, as in SAM 2.

    Args:
        logits: float32 on the CPU, in the frame of the grid; above 0 on the object.
        frame: of the family whose decoder made the logits.
        height_px: of the upright image.
        width_px: of the upright image.

    Returns:
        True where the enlarged logits are above 0, in the frame of the upright image.
    """
    if not frame.keeps_aspect:
        return enlarge_above_zero(logits.numpy(), height=height_px, width=width_px)
    height, width = frame.size_on_canvas(height_px, width_px)
    canvas = enlarge(logits.numpy(), height=frame.canvas_px, width=frame.canvas_px)
    return enlarge_above_zero(canvas[:height, :width], height=height_px, width=width_px)
