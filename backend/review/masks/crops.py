"""Images of held-out objects at the size shown: cut when a page asks for them, and cached up to a bound."""

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from PIL import Image

from backend.errors import NotFound
from backend.images.source import open_image
from backend.masks.svg import fit_view

Window = tuple[int, int, int, int]  # top, left, height and width in px of the image

SIZES_PX = (160, 320, 640, 1280)  # of an image's longer side, at most
_QUALITY = 90  # WebP's; high, because analysts judge edges
_MOST_AT_ONCE = 2  # images decoded at a time; an image takes up to 300 MB


class Crops:
    """Cuts and caches crops. A page's objects on the same image cost one download and one decoding. Thread-safe."""

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
        """Return a part of the image as WebP, its longer side at most `size_px`; never enlarged.

        Args:
            image_sha256: SHA-256 of the image's bytes when the masks were measured.
            window: the part; pixels beyond the image are black.
            size_px: one of SIZES_PX.
            fetch: reads the image's bytes.
            beside: further parts that the page will ask for in this size; they are cut in the same go.

        Raises:
            NotFound: the fetched bytes are another image.
            SamloopError: the image cannot be fetched or decoded.
        """
        if (known := self._get((image_sha256, window, size_px))) is not None:
            return known
        with self._alone(image_sha256):
            if (known := self._get((image_sha256, window, size_px))) is not None:
                return known
            with self._decoding:
                data = fetch()
                if hashlib.sha256(data).hexdigest() != image_sha256:
                    raise NotFound("the task's image has changed since the masks were measured on it")
                image = open_image(data, max_pixels=self._max_pixels).convert("RGB")
                for neighbour in beside:
                    self._put((image_sha256, neighbour, size_px), _cut(image, neighbour, size_px))
                made = _cut(image, window, size_px)
            self._put((image_sha256, window, size_px), made)
            return made

    @contextmanager
    def _alone(self, image_sha256: str) -> Iterator[None]:
        """Let one thread at a time work on an image; drop the image's lock with the last thread that waits for it."""
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
    """Width and height, in px, at which a part is shown: its longer side at most `longest_px`, never enlarged."""
    _, _, height, width = window
    return fit_view(height, width, longest_px=longest_px)


def _cut(image: Image.Image, window: Window, size_px: int) -> bytes:
    y0, x0, height, width = window
    part = image.crop((x0, y0, x0 + width, y0 + height))
    file = io.BytesIO()
    part.resize(fit_size(window, longest_px=size_px), Image.Resampling.LANCZOS).save(file, "WEBP", quality=_QUALITY)
    return file.getvalue()
