"""How large a refresh's batches are, and when the next may begin: shared by all batches that run at once."""

import time
from collections.abc import Callable

from backend.refresh.rules import Limits, Rules


class Pace:
    """Batches grow or shrink to the time that one should take, and together keep to the most tasks a second.

    Args:
        rules: `batch_s` and `per_second`.
        limits: the first batch's size, and the largest.
        clock: returns the time, s.
    """

    def __init__(self, rules: Rules, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules, self._limits, self._clock = rules, limits, clock
        self._size, self._free_s = limits.first_batch, clock()

    @property
    def size(self) -> int:
        """How many tasks the next batch takes."""
        return self._size

    def wait_s(self) -> float:
        """How long to wait before the next batch begins, s."""
        return max(0.0, self._free_s - self._clock())

    def begin(self, count: int) -> None:
        """A batch of so many tasks begins: the rate allows the next only when their time is up."""
        if self._rules.per_second:
            self._free_s = max(self._free_s, self._clock()) + count / self._rules.per_second

    def learn(self, count: int, *, took_s: float) -> None:
        """A batch of so many tasks took so long: size the next by that, by a factor of a quarter to two."""
        factor = min(2.0, max(0.25, self._rules.batch_s / max(1e-3, took_s)))
        self._size = min(self._limits.largest_batch, max(1, round(count * factor)))
