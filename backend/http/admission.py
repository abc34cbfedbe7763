"""How many slow requests are inside at once, in threads of their own."""

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from backend.errors import Busy

T = TypeVar("T")


class Admission:
    """Takes in up to `most` handlers, and runs them in so many `threads`. They mostly wait: for an image, or in a lane.

    An owner, such as a project, holds at most half of the places, so that other requests are taken in whatever
    one asks for.

    Apart from the threads in which all other handlers run, of which a server has forty: sixty annotators who wait for
    an encode, or a few pages full of pictures, would else take them all, and Label Studio, which gives /health one
    second, would call the backend dead.
    """

    def __init__(self, *, most: int, threads: int | None = None) -> None:
        self._most, self._inside = most, 0
        self._threads = threads or most
        self._by_owner: Counter[str] = Counter()
        self._limiter: CapacityLimiter | None = None

    async def run(self, handler: Callable[[], T], *, owner: str | None = None) -> T:
        """Run a handler in a thread.

        Args:
            handler: the request's work.
            owner: on whose behalf; None: nobody's share is looked at.

        Raises:
            Busy: `most` are inside already, or half as many of this owner.
        """
        if owner is not None and self._by_owner[owner] >= max(1, self._most // 2):
            raise Busy(
                f"{self._by_owner[owner]} requests of project {owner} are being answered already: try again",
                retry_after_s=5,
            )
        if self._inside >= self._most:
            raise Busy(f"{self._inside} requests are being answered already: try again", retry_after_s=5)
        self._inside += 1
        if owner is not None:
            self._by_owner[owner] += 1
        try:
            if self._limiter is None:  # anyio's limiters belong to the running loop
                self._limiter = CapacityLimiter(self._threads)
            return await to_thread.run_sync(handler, limiter=self._limiter)
        finally:
            self._inside -= 1
            if owner is not None:
                self._by_owner[owner] -= 1
                self._by_owner += Counter()  # forgets owners without a request
