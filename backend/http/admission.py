"""How many slow requests are inside at once, in threads of their own."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from backend.errors import Busy

T = TypeVar("T")


class Admission:
    """Takes in up to `most` handlers, and runs them in so many `threads`. They mostly wait: for an image, or in a lane.

    Apart from the threads in which all other handlers run, of which a server has forty: sixty annotators who wait for
    an encode, or a few pages full of pictures, would else take them all, and Label Studio, which gives /health one
    second, would call the backend dead.
    """

    def __init__(self, *, most: int, threads: int | None = None) -> None:
        self._most, self._inside = most, 0
        self._threads = threads or most
        self._limiter: CapacityLimiter | None = None

    async def run(self, handler: Callable[[], T]) -> T:
        """Run a handler in a thread.

        Raises:
            Busy: `most` are inside already.
        """
        if self._inside >= self._most:
            raise Busy(f"{self._inside} requests are being answered already: try again", retry_after_s=5)
        self._inside += 1
        try:
            if self._limiter is None:  # anyio's limiters belong to the running loop
                self._limiter = CapacityLimiter(self._threads)
            return await to_thread.run_sync(handler, limiter=self._limiter)
        finally:
            self._inside -= 1
