"""Prepares images and enlarges masks on an accelerator, so that an image and its masks cross the bus once.

On a CPU, `canvas` and `enlarge` do the same in a way that suits a CPU better. Tests compare the two ways.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backend.sam.frame import Frame

_PIXELS_AT_ONCE = 2**27  # of float32, half a GiB: 128 masks on a canvas of 1024 px
_MOST_PINNED = 2**28  # bytes of masks, a quarter of a GiB: 256 of 1024 px by 1024
_BITS = 8


def pixels_on_device(image: Image.Image, *, frame: Frame, device: torch.device) -> Float[Tensor, "1 3 side side"]:
    """Resize, normalise and pad an image as `canvas.pixels_on_canvas` does, on a device.

    Args:
        image: upright, of any mode that converts to RGB.
        frame: of the family whose encoder will see the pixels.
        device: the accelerator.

    Returns:
        Float32 on the device, in the frame of the canvas. Colours are within one grey level of Pillow's.
    """
    height, width = frame.size_on_canvas(image.height, image.width)
    # A copy, because PyTorch warns of memory that it may not write.
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).to(device).permute(2, 0, 1)[None].float()
    if pixels.shape[2:] != (height, width):
        pixels = functional.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (frame.mean, frame.std))
    # Whole grey levels, as Pillow's resizing leaves them.
    normalised = (pixels.round().clamp(0, 255) - mean) / std
    return functional.pad(normalised, (0, frame.canvas_px - width, 0, frame.canvas_px - height))


def masks_on_device(
    logits: Float[Tensor, "n g g"], *, frame: Frame, height_px: int, width_px: int
) -> Iterator[Bool[np.ndarray, "{height_px} {width_px}"]]:
    """Enlarge logits to the image as `canvas.mask_of_logits` does, many at once, on the device of the logits.

    Few or small masks leave the device as they are, since to unpack bits takes longer than the bus; others as bits.

    Args:
        logits: float32, in the frame of the grid; above 0 on the object.
        frame: of the family whose decoder made the logits.
        height_px: of the upright image.
        width_px: of the upright image.

    Yields:
        For every map, in their order, the mask in the frame of the upright image.
    """
    at_once = max(1, _PIXELS_AT_ONCE // max(height_px * width_px, frame.canvas_px**2))
    for maps in torch.split(logits[:, None], at_once):
        canvas = maps
        if frame.keeps_aspect:
            height, width = frame.size_on_canvas(height_px, width_px)
            canvas = functional.interpolate(maps, (frame.canvas_px, frame.canvas_px), mode="bilinear")
            canvas = canvas[..., :height, :width]
        above = functional.interpolate(canvas, (height_px, width_px), mode="bilinear")[:, 0] > 0
        if len(logits) * height_px * width_px <= _MOST_PINNED:
            yield from copy_to_host(above)
        else:
            for bits in pack_rows(above).cpu().numpy():
                yield np.unpackbits(bits, axis=1, count=width_px).view(np.bool_)


def copy_to_host(values: Tensor) -> np.ndarray:
    """Copy a tensor from a device to memory that the device writes by itself, five times as fast as to other memory.

    Such memory is kept for the next copy, and never swapped out: it is for what is small or soon gone.
    """
    if not values.is_cuda:
        return values.cpu().numpy()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    copied: np.ndarray = host.numpy()
    return copied


def pack_rows(masks: Bool[Tensor, "n h w"]) -> UInt8[Tensor, "n h bytes"]:
    """Pack the pixels of a row into bytes, the leftmost pixel into the highest bit; `numpy.unpackbits` undoes this."""
    padded = functional.pad(masks.to(torch.uint8), (0, -masks.shape[-1] % _BITS))
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=masks.device)
    return (padded.view(*masks.shape[:-1], -1, _BITS) * weights).sum(-1, dtype=torch.uint8)
