"""Traffic that counts who makes way for clicks."""

import threading

from support.waiting import SOON_S

from backend.serving.turns.traffic import Traffic


class WatchedTraffic(Traffic):
    """Counts how often somebody waits for the clicks to end."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)

    def wait_until_clear(self, *, longest_s: float) -> bool:
        """As `Traffic.wait_until_clear`."""
        self.waits.release()
        return super().wait_until_clear(longest_s=longest_s)

    def await_waits(self, count: int) -> None:
        """Return once somebody has waited so many times more."""
        for _ in range(count):
            assert self.waits.acquire(timeout=SOON_S), "nobody makes way"
