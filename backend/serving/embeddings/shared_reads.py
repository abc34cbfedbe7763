"""Reads an image once for all who ask for it at the same moment."""

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image file, and the SHA-256 of its bytes."""

    sha256: str
    data: bytes


class SharedReads:
    """Lets a request join another request's read of the same image. Nothing is stored after the read ends.

    An annotator's click and the embedding ahead ask for the same image within milliseconds, and the click must not wait
    for a second download. A read ends once its first reader is done with the bytes, so requests that come while they
    are being encoded share them too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Hashable, Future[ImageBytes]] = {}
        self._joined = 0

    @property
    def joined(self) -> int:
        """How many calls joined another call's read."""
        return self._joined

    @contextmanager
    def reading(self, place: Hashable, read: Callable[[], ImageBytes]) -> Iterator[ImageBytes]:
        """Span the use of the result of `read`, or of a read of this place that already runs.

        Raises:
            Exception: whatever the read raised, in all callers that wait for it. The next call reads again.
        """
        with self._lock:
            if (under_way := self._under_way.get(place)) is None:
                own = self._under_way[place] = Future[ImageBytes]()
            else:
                self._joined += 1
        if under_way is not None:
            yield under_way.result()
            return
        try:
            image = read()
        except BaseException as fault:
            self._forget(place)
            own.set_exception(fault)
            raise
        own.set_result(image)
        try:
            yield image
        finally:
            self._forget(place)

    def _forget(self, place: Hashable) -> None:
        with self._lock:
            del self._under_way[place]
