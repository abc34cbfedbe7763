"""SAM's frame: a canvas of 1024x1024 px with the image at its top left, longest side 1024, zeros right and below.

As segment-anything's ResizeLongestSide and Sam.preprocess/postprocess_masks have it, so that weights made for those
see here what they saw there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

CANVAS_PX = 1024
LOGITS_PX = 256
PREPROCESSING = "longest-1024-pil-bilinear/imagenet-mean-std/zero-pad-right-bottom/1"
_MEAN = np.array((123.675, 116.28, 103.53), np.float32)
_STD = np.array((58.395, 57.12, 57.375), np.float32)
_STRIP_VALUES = 1 << 22  # logits of the full image held at once: 16 MiB


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


def _stretch(*, logits_used: int, pixels: int) -> Float[Tensor, "pixels 256"]:
    """Two bilinear resizings along one axis as a matrix: logits to the canvas, its used part to the image's pixels."""
    canvas = F.interpolate(torch.eye(LOGITS_PX)[None], size=CANVAS_PX, mode="linear", align_corners=False)
    return F.interpolate(canvas[..., :logits_used], size=pixels, mode="linear", align_corners=False)[0].T.contiguous()


@dataclass(frozen=True, slots=True)
class Enlargement:
    """From low-resolution logits to masks of one image's size.

    segment-anything enlarges to the canvas, crops, and resizes: both are linear and work on each axis alone, so a
    product with one matrix an axis gives the same numbers without the canvas in between.
    """

    down: Float[Tensor, "h 256"]
    across: Float[Tensor, "256 w"]

    @classmethod
    def to_image(cls, height_px: int, width_px: int) -> "Enlargement":
        """Prepare for an image of this size."""
        height, width = size_on_canvas(height_px, width_px)
        return cls(
            down=_stretch(logits_used=height, pixels=height_px), across=_stretch(logits_used=width, pixels=width_px).T
        )

    def mask(self, logits: Float[Tensor, "256 256"]) -> Bool[np.ndarray, "h w"]:
        """True where the enlarged logits lie above 0."""
        wide = logits @ self.across
        mask = np.empty((len(self.down), wide.shape[1]), np.bool_)
        # In strips, so that an image of 100 megapixels does not take 400 MB of logits beside its mask.
        rows = max(1, _STRIP_VALUES // wide.shape[1])
        for first in range(0, len(mask), rows):
            mask[first : first + rows] = ((self.down[first : first + rows] @ wide) > 0).numpy()
        return mask
