"""Images as files and as addresses, for tests to which the content does not matter."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def draw_noise(*, width_px: int, height_px: int, seed: int = 0) -> np.ndarray:
    """Return RGB pixels, uint8 (height, width, 3), the same for the same seed."""
    return np.random.default_rng(seed).integers(0, 255, (height_px, width_px, 3), dtype=np.uint8)


def draw_greys(width_px: int, height_px: int, *, spread: float = 80.0, seed: int = 0) -> Image.Image:
    """Return grey noise from a seed, as Pillow's `effect_noise` has none: in some noise a random base sees nothing."""
    greys = np.random.default_rng(seed).normal(128, spread, (height_px, width_px)).clip(0, 255)
    return Image.fromarray(greys.astype(np.uint8)).convert("RGB")


def encode_image(image: Image.Image | np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """Return the file that an image, or its pixels, makes in this format of Pillow's."""
    file = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(file, form, **options)
    return file.getvalue()


def write_data_uri(data: bytes, *, kind: str = "image/png") -> str:
    """Return a `data:` address that holds these bytes."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
