"""Addresses whose bytes were read a moment ago."""

import hashlib
import threading
import time
from dataclasses import dataclass

from cachetools import LRUCache


@dataclass(frozen=True, slots=True)
class SeenImage:
    """What is remembered of an image's address: the digest of its bytes, and when it was read."""

    sha256: str
    read_at_s: float


class SeenImages:
    """Addresses whose bytes were read a moment ago, so that the next click does not read them again.

    An address alone is no key: another project may resolve it with other rights, and a file may change. So an entry
    belongs to one source of images and is forgotten after `fresh_s`.
    """

    def __init__(self, *, limit: int = 10_000, fresh_s: float = 60.0) -> None:
        self._fresh_s = fresh_s
        self._seen: LRUCache[bytes, SeenImage] = LRUCache(maxsize=limit)
        self._lock = threading.Lock()

    def digest(self, source: str, uri: str) -> str | None:
        """The sha256 of the image at `uri`, if it was read within `fresh_s`."""
        with self._lock:
            seen = self._seen.get(_place(source, uri))
            return seen.sha256 if seen and time.monotonic() - seen.read_at_s < self._fresh_s else None

    def add(self, source: str, uri: str, *, sha256: str) -> None:
        """Remember an image that was just read."""
        with self._lock:
            self._seen[_place(source, uri)] = SeenImage(sha256, time.monotonic())


def _place(source: str, uri: str) -> bytes:
    """A digest, for a data: URI is as long as its image, and thousands are remembered."""
    return hashlib.sha256(f"{source}\n{uri}".encode(errors="surrogatepass")).digest()
