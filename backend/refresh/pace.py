"""How large a refresh's batches are, and when the next may begin: shared by all batches that run at once."""

import time
from collections.abc import Callable

from backend.refresh.rules import Limits, Rules


class Pace:
    """Sizes batches so that a batch takes `batch_s`, and spaces them so that all together keep to `per_second`.

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
        """Note that a batch of so many tasks begins: the next may begin once the rate allows it."""
        if self._rules.per_second:
            self._free_s = max(self._free_s, self._clock()) + count / self._rules.per_second

    def learn(self, count: int, *, took_s: float) -> None:
        """Size the next batch by the time that this batch took: at most twice as large, at least a quarter."""
        factor = min(2.0, max(0.25, self._rules.batch_s / max(1e-3, took_s)))
        self._size = min(self._limits.largest_batch, max(1, round(count * factor)))
