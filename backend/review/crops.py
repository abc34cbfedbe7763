"""Images of held-out objects, at the size they are shown; made when a page asks, kept within a bound."""

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from PIL import Image

from backend.errors import NotFound
from backend.images.source import open_image

Window = tuple[int, int, int, int]  # top, left, height and width in px of the image

SIZES_PX = (160, 320, 640, 1280)  # of an image's longer side, at most
_QUALITY = 90  # WebP's; an edge is what people look at here
_MOST_AT_ONCE = 2  # images decoded: up to 300 MB an image


class Crops:
    """Thread-safe. An image is fetched and decoded once for all its objects that a page shows."""

    def __init__(self, *, max_bytes: int, max_pixels: int) -> None:
        self._max_bytes, self._max_pixels = max_bytes, max_pixels
        self._kept: OrderedDict[tuple[str, Window, int], bytes] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._decoding = threading.Semaphore(_MOST_AT_ONCE)
        self._images: dict[str, tuple[threading.Lock, int]] = {}

    def crop(
        self,
        image_sha256: str,
        window: Window,
        *,
        size_px: int,
        fetch: Callable[[], bytes],
        beside: Iterable[Window] = (),
    ) -> bytes:
        """A WebP of this part of the image, its longer side at most `size_px`; never enlarged.

        Args:
            image_sha256: of the image's bytes, as it was when the masks were measured.
            window: the part; what reaches beyond the image is black.
            size_px: one of SIZES_PX.
            fetch: reads the image's bytes.
            beside: further parts that will be asked for in this size: cut out while the image is at hand.

        Raises:
            NotFound: what is fetched is no longer that image.
            SamloopError: it cannot be fetched or decoded.
        """
        if (known := self._get((image_sha256, window, size_px))) is not None:
            return known
        with self._alone(image_sha256):
            if (known := self._get((image_sha256, window, size_px))) is not None:
                return known
            with self._decoding:
                data = fetch()
                if hashlib.sha256(data).hexdigest() != image_sha256:
                    raise NotFound("the task has another image by now than the one that was measured")
                image = open_image(data, max_pixels=self._max_pixels).convert("RGB")
                for neighbour in beside:
                    self._put((image_sha256, neighbour, size_px), _cut(image, neighbour, size_px))
                made = _cut(image, window, size_px)
            self._put((image_sha256, window, size_px), made)
            return made

    @contextmanager
    def _alone(self, image_sha256: str) -> Iterator[None]:
        """One thread at a time for an image; its lock is forgotten with the last that waits for it."""
        with self._lock:
            lock, waiting = self._images.get(image_sha256, (threading.Lock(), 0))
            self._images[image_sha256] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, waiting = self._images.pop(image_sha256)
                if waiting > 1:
                    self._images[image_sha256] = lock, waiting - 1

    def _get(self, key: tuple[str, Window, int]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _put(self, key: tuple[str, Window, int], data: bytes) -> None:
        with self._lock:
            self._held_bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._held_bytes > self._max_bytes:
                _, gone = self._kept.popitem(last=False)
                self._held_bytes -= len(gone)


def fit_size(window: Window, *, longest_px: int) -> tuple[int, int]:
    """Width and height of a part that is shown `longest_px` at most, and not enlarged."""
    _, _, height, width = window
    scale = min(1.0, longest_px / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _cut(image: Image.Image, window: Window, size_px: int) -> bytes:
    y0, x0, height, width = window
    part = image.crop((x0, y0, x0 + width, y0 + height))
    file = io.BytesIO()
    part.resize(fit_size(window, longest_px=size_px), Image.Resampling.LANCZOS).save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()
