"""Bounds the memory of image files that wait for the encoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from backend.errors import Busy


class HeldImages:
    """The image files that requests hold while they wait for the encoder: at most so many bytes of them together.

    The lane bounds the number of requests, but 128 images of 64 MiB would be 8 GiB. A lone image is never refused.

    Args:
        max_bytes: of all files together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """How many are held now."""
        return self._bytes

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Spans the wait of a request that holds so many bytes.

        Raises:
            Busy: other requests hold too many already.
        """
        with self._lock:
            if self._bytes and self._bytes + size_bytes > self._max_bytes:
                held_mib = self._bytes / (1 << 20)
                raise Busy(f"{held_mib:.0f} MiB of images wait for the encoder already: try again", retry_after_s=5)
            self._bytes += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= size_bytes
