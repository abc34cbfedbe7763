"""Bounds the memory of image files that wait for the encoder."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from backend.errors import Busy


class HeldImages:
    """Limits the bytes of all image files that requests hold while they wait for the encoder.

    The lane bounds the number of requests, but 128 images of 64 MiB would be 8 GiB. A project may hold half of the
    bytes, so that it leaves room for others. A project's lone image is refused only where others hold too many bytes.

    Args:
        max_bytes: of all files together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._of_owner: Counter[int | None] = Counter()
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """How many bytes are held now."""
        return self._bytes

    @contextmanager
    def holding(self, size_bytes: int, *, owner: int | None = None) -> Iterator[None]:
        """Span the wait of a request that holds so many bytes. `owner`: its project; None: it names no project.

        Raises:
            Busy: other requests, or those of the project, hold too many already.
        """
        with self._lock:
            self._check(self._bytes, size_bytes, most=self._max_bytes)
            self._check(self._of_owner[owner], size_bytes, most=self._max_bytes // 2)
            self._bytes += size_bytes
            self._of_owner[owner] += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._bytes -= size_bytes
                self._of_owner[owner] -= size_bytes
                self._of_owner += Counter()  # forgets owners that hold nothing

    def _check(self, held: int, size_bytes: int, *, most: int) -> None:
        if held and held + size_bytes > most:
            raise Busy(f"{held / (1 << 20):.0f} MiB of images wait for the encoder already: try again", retry_after_s=5)
