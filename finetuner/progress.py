"""How a training tells where it is: one call a phase, epoch or figure, to whoever listens."""

from typing import Protocol

PHASES = ("pulling", "embedding", "training", "evaluating", "publishing")


class Progress(Protocol):
    """Whoever listens: the job's record in Redis, a progress bar, a test's list."""

    def __call__(self, phase: str, **figures: float | str) -> None:
        """Take notice.

        `phase` is one of PHASES. `figures` are JSON scalars: `epoch`, `epochs`, `loss`, `done`, `total`, a metric.
        """


def silent(phase: str, **figures: float | str) -> None:
    """Nobody listens."""
