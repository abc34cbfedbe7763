"""How a refresh goes about it: what the settings say, and the limits that they leave alone."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the settings and the registry say of a project's refreshes.

    Attributes:
        ours: versions of this project that samloop made, oldest first, the base model's name among them.
        per_second: most tasks a second; 0: as fast as both ends can.
        keep: how many of `ours` keep their predictions, the served one included; 0: all.
        flip: let people see the new version at once (`project.model_version`).
        batch_s: how long a batch should take, s.
        patience_s: how long an end that fails is tried again before the refresh gives up, s.
    """

    ours: tuple[str, ...] = ()
    per_second: float = 0.0
    keep: int = 0
    flip: bool = True
    batch_s: float = 5.0
    patience_s: float = 600.0

    def outdated(self, served: str) -> list[str]:
        """Versions of ours whose predictions are to go."""
        others = [version for version in self.ours if version != served]
        return others[: max(0, len(others) - (self.keep - 1))] if self.keep else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes and pauses that no setting changes.

    Attributes:
        page: most tasks that are listed at once.
        first_batch: tasks in the first batch, before anything tells how long one takes.
        largest_batch: most tasks in a batch.
        first_pause_s: the pause after the first failure, s; every further one is twice as long.
        longest_pause_s: the longest of them, s.
    """

    page: int = 500
    first_batch: int = 4
    largest_batch: int = 100
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
