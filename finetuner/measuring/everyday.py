"""What an encoder sees in photographs of everyday things, to tell a project's images from them (measuring.domain).

People, streets, boats, doors and flowers in 24 photographs by Kodak (kodak/LICENCE.md), and two of scikit-image. No
training measures on these photographs or replays them. The more there are, the fewer other photographs pass for the
project's own (docs/results.md); an encoder sees all of them once, in seconds.
"""

import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from backend.files.durable import write_file
from backend.images.source import open_image
from backend.sam.embeddings.domain import direction_of
from backend.sam.loading import BaseModel
from backend.sam.predictor import encode
from finetuner.data.generic import MOST_PIXELS, key_of, photograph

log = logging.getLogger(__name__)

KODAK = Path(__file__).with_name("kodak")
KODAK_NAMES = tuple(f"{number:02}.jpg" for number in range(1, 25))
IN_PARTS = ("camera.png", "motorcycle_left.png")  # of scikit-image
_DIRECTIONS = "directions"


def everyday_directions(base: BaseModel, *, folder: Path | None) -> Float[Tensor, "34 c"]:
    """Return directions (`direction_of`) of photographs of everyday things: 24 whole, two whole and in four parts.

    Args:
        base: has the encoder.
        folder: keeps them for every encoder; None keeps nothing, for an encoder that only one training has.

    Raises:
        Unavailable: scikit-image is not installed.
        OSError: the folder cannot be written.
    """
    if folder is None:
        return _look_at_photographs(base)
    path = folder / f"{_DIRECTIONS}-{key_of([KODAK_NAMES, IN_PARTS, base.encoder_fingerprint])}.safetensors"
    try:
        return safetensors.torch.load(path.read_bytes())[_DIRECTIONS]
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError, KeyError) as fault:
        log.warning("%s is damaged: %s", path, fault, extra={"event": "generic.damaged"})
    directions = _look_at_photographs(base)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, safetensors.torch.save({_DIRECTIONS: directions}), is_synced=False)
    return directions


def _look_at_photographs(base: BaseModel) -> Float[Tensor, "34 c"]:
    seen = (encode(base, image) for image in _photographs())
    return torch.stack([direction_of(embedding, frame=base.frame) for embedding in seen])


def _photographs() -> Iterator[Image.Image]:
    for name in KODAK_NAMES:
        yield open_image((KODAK / name).read_bytes(), max_pixels=MOST_PIXELS)
    for name in IN_PARTS:
        yield from _with_corners(open_image(photograph(name), max_pixels=MOST_PIXELS))


def _with_corners(image: Image.Image) -> Iterator[Image.Image]:
    """The image, and its corners of two thirds of a side."""
    yield image
    for top, left in product((0, image.height // 3), (0, image.width // 3)):
        yield image.crop((left, top, left + 2 * image.width // 3, top + 2 * image.height // 3))
