"""A clock that stands still until a test moves it."""


class HandClock:
    """Replaces `time.monotonic`: a call returns the time in seconds."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Advance the time; as a replacement of `time.sleep`, it returns at once."""
        self.now_s += seconds
