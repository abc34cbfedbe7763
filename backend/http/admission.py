"""Limits how many slow requests run at once, and runs them in threads of their own."""

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from backend.errors import Busy

T = TypeVar("T")


class Admission:
    """Admits up to `most` handlers, and runs them in `threads` threads. They mostly wait: for an image, or in a lane.

    An owner, such as a project, may hold at most half of the places, so that no project can shut the others out.

    These threads are separate from the server's forty threads for all other handlers. Otherwise sixty annotators who
    wait for an encode, or a few pages full of images, would take them all, and Label Studio, which waits one second for
    /health, would call the backend dead.
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
            owner: whose share of the places the request counts against; None: nobody's.

        Raises:
            Busy: `most` handlers are running or waiting, or half as many of this owner.
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
