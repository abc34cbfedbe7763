"""A clock that stands still until a test moves it."""


class HandClock:
    """Stands in for `time.monotonic`: a call tells the time, s."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; as a stand-in for `time.sleep`, at once."""
        self.now_s += seconds
