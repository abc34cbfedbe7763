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

CANVAS_PX = 1024
LOGITS_PX = 256
PREPROCESSING = "longest-1024-pil-bilinear/imagenet-mean-std/zero-pad-right-bottom/1"
_MEAN = np.array((123.675, 116.28, 103.53), np.float32)
_STD = np.array((58.395, 57.12, 57.375), np.float32)


def size_on_canvas(height_px: int, width_px: int) -> tuple[int, int]:
    """Height and width of the image on the canvas; the longest is 1024, none is 0."""
    scale = CANVAS_PX / max(height_px, width_px)
    return max(1, int(height_px * scale + 0.5)), max(1, int(width_px * scale + 0.5))


def pixels_on_canvas(image: Image.Image) -> Float[Tensor, "1 3 1024 1024"]:
    """Resize, normalise and pad an RGB image; channels last in memory."""
    height, width = size_on_canvas(image.height, image.width)
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    values = (np.asarray(resized, np.float32) - _MEAN) / _STD
    canvas = np.zeros((CANVAS_PX, CANVAS_PX, 3), np.float32)
    canvas[:height, :width] = values
    return torch.from_numpy(canvas).permute(2, 0, 1)[None]


def mask_of_logits(
    logits: Float[Tensor, "256 256"], *, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Enlarge the canvas' logits to the image, bilinearly and in segment-anything's two steps; True above 0."""
    height, width = size_on_canvas(height_px, width_px)
    canvas = enlarged(logits.numpy(), height=CANVAS_PX, width=CANVAS_PX)
    return enlarged_above_zero(canvas[:height, :width], height=height_px, width=width_px)
