"""How a training tells where it is: one call a phase, epoch or figure, to whoever listens."""

from typing import Protocol, runtime_checkable

PHASES = ("pulling", "embedding", "checking", "splitting", "training", "evaluating", "publishing")


@runtime_checkable
class Progress(Protocol):
    """Whoever listens: the job's record in Redis, a progress bar, a test's list."""

    def __call__(self, phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
        """Take notice.

        `phase` is one of PHASES, for a training; a refresh has two of its own, "waiting" and "refreshing".

        `figures` are JSON scalars: `epoch`, `epochs`, `loss`, `done`, `total`, a metric. A text of several lines, such
        as the `table` of "checking", is for a page or a terminal of its own.
        """


def silent(phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
    """Nobody listens."""
