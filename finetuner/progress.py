"""The interface that receives a training's progress: one call per phase, epoch or figure."""

from typing import Protocol, runtime_checkable

PHASES = ("pulling", "embedding", "checking", "splitting", "training", "evaluating", "publishing")


@runtime_checkable
class Progress(Protocol):
    """A receiver of progress: the job's record in Redis, a progress bar, a test's list."""

    def __call__(self, phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
        """Receive progress.

        Args:
            phase: one of PHASES for a training, or "waiting" or "refreshing" for a refresh.
            figures: JSON scalars: `epoch`, `epochs`, `loss`, `done`, `total`, a metric. A text of several lines, such
                as the `table` of "checking", is shown by itself.
        """


def silent(phase: str, **figures: int | float | str) -> None:  # noqa: PYI041 - beartype takes no int for a float
    """Ignore the progress."""
