"""SAM's frame: a canvas of 1024x1024 px with the image at its top left, longest side 1024, zeros right and below.

As segment-anything's ResizeLongestSide and Sam.preprocess/postprocess_masks have it, so that weights made for those
see here what they saw there.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from backend.sam.enlarge import enlarged, enlarged_above_zero
from backend.sam.frame import Frame


def pixels_on_canvas(image: Image.Image, *, frame: Frame) -> Float[Tensor, "1 3 side side"]:
    """Resize, normalise and pad an RGB image; channels last in memory."""
    height, width = frame.size_on_canvas(image.height, image.width)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    values = (np.asarray(resized, np.float32) - np.array(frame.mean, np.float32)) / np.array(frame.std, np.float32)
    canvas = np.zeros((frame.canvas_px, frame.canvas_px, 3), np.float32)
    canvas[:height, :width] = values
    return torch.from_numpy(canvas).permute(2, 0, 1)[None]


def mask_of_logits(
    logits: Float[Tensor, "g g"], *, frame: Frame, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Enlarge the canvas' logits to the image, bilinearly and in segment-anything's two steps; True above 0."""
    height, width = frame.size_on_canvas(height_px, width_px)
    canvas = enlarged(logits.numpy(), height=frame.canvas_px, width=frame.canvas_px)
    return enlarged_above_zero(canvas[:height, :width], height=height_px, width=width_px)
