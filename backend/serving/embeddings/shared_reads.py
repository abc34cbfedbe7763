"""Reads an image once, however many ask for it at the same moment."""

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image file, and the sha256 of its bytes."""

    sha256: str
    data: bytes


class SharedReads:
    """Lets a request join a read of the same image that another request began; nothing is kept after its end.

    An annotator's click and the work that warms up ask for the same image within milliseconds, and the click must not
    wait for a second copy of it. A read ends once its first reader has done with the bytes: whoever comes while they
    are being encoded takes them too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: dict[Hashable, Future[ImageBytes]] = {}
        self._joined = 0

    @property
    def joined(self) -> int:
        """How many calls joined the read of another call."""
        return self._joined

    @contextmanager
    def reading(self, place: Hashable, read: Callable[[], ImageBytes]) -> Iterator[ImageBytes]:
        """Spans the use of what `read` returns, or of what the read of this place that is under way returns.

        Raises:
            Exception: what the read raised, in all who wait for it; the next call reads again.
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
