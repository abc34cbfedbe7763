"""Reads images again after the training, from their source, one at a time."""

import hashlib
import logging
from collections.abc import Callable

from PIL import Image

from backend.errors import SamloopError
from backend.images.source import open_image

log = logging.getLogger(__name__)


class ImagesAgain:
    """Reads an image again by the digest of its bytes."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[Callable[[], bytes], int]] = {}

    def remember(self, data: bytes, *, read: Callable[[], bytes], max_pixels: int) -> None:
        """Remember how to read an image, but not the image itself."""
        self._sources[hashlib.sha256(data).hexdigest()] = read, max_pixels

    def __call__(self, image_sha256: str) -> Image.Image | None:
        """The upright image; None if it cannot be read or has changed, since the report can do without it."""
        source = self._sources.get(image_sha256)
        if source is None:
            return None
        read, max_pixels = source
        try:
            data = read()
            if hashlib.sha256(data).hexdigest() != image_sha256:
                return None
            return open_image(data, max_pixels=max_pixels)
        except (SamloopError, OSError) as fault:
            log.info(
                "the report lacks image %s: %s",
                image_sha256[:12],
                fault,
                extra={"event": "report.image_missing", "image_sha256": image_sha256},
            )
            return None
