"""Remembers the digests of images that were read a moment ago, by address."""

import hashlib
import threading
import time
from dataclasses import dataclass

from cachetools import LRUCache


@dataclass(frozen=True, slots=True)
class SeenImage:
    """The digest of an image's bytes, and when they were read (`time.monotonic`)."""

    sha256: str
    read_at_s: float


class SeenImages:
    """Digests of images that were read a moment ago, so that the next click does not read them again.

    An address alone is no key: another project may resolve it with other rights, and a file may change. So an entry
    belongs to one source of images and expires after `fresh_s` seconds.
    """

    def __init__(self, *, limit: int = 10_000, fresh_s: float = 60.0) -> None:
        self._fresh_s = fresh_s
        self._seen: LRUCache[bytes, SeenImage] = LRUCache(maxsize=limit)
        self._lock = threading.Lock()

    def digest(self, source: str, uri: str) -> str | None:
        """Return the SHA-256 (hexadecimal) of the image at `uri`, or None unless it was read within `fresh_s`."""
        with self._lock:
            seen = self._seen.get(_digest_address(source, uri))
            return seen.sha256 if seen and time.monotonic() - seen.read_at_s < self._fresh_s else None

    def add(self, source: str, uri: str, *, sha256: str) -> None:
        """Remember an image that has just been read."""
        with self._lock:
            self._seen[_digest_address(source, uri)] = SeenImage(sha256, time.monotonic())


def _digest_address(source: str, uri: str) -> bytes:
    """Return a digest as the key: a data: URI is as long as its image, and thousands of keys are in memory."""
    return hashlib.sha256(f"{source}\n{uri}".encode(errors="surrogatepass")).digest()
