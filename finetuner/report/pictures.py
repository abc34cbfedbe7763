"""Images once more, after the training: read again from where they came, one at a time, none kept."""

import hashlib
import logging
from collections.abc import Callable

from PIL import Image

from backend.errors import SamloopError
from backend.images.source import open_image

log = logging.getLogger(__name__)


class ImagesAgain:
    """Knows for the digest of an image's bytes how to read them again."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[Callable[[], bytes], int]] = {}

    def remember(self, data: bytes, *, read: Callable[[], bytes], max_pixels: int) -> None:
        """Remember the way to an image, not the image."""
        self._sources[hashlib.sha256(data).hexdigest()] = read, max_pixels

    def __call__(self, image_sha256: str) -> Image.Image | None:
        """The upright image; None where it cannot be had, or has other bytes by now: the report does without it."""
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
                "the report goes without image %s: %s",
                image_sha256[:12],
                fault,
                extra={"event": "report.image_missing", "image_sha256": image_sha256},
            )
            return None
