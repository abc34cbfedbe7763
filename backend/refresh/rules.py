"""The settings of a refresh, and limits that no setting changes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A project's refreshes, according to the settings and the registry.

    Attributes:
        ours: the versions of this project that samloop made, oldest first, including the base model's name.
        per_second: most tasks a second; 0: no limit.
        at_once: how many batches are asked for at the same time.
        keep: how many of `ours`, including the served version, keep their predictions; 0: all.
        flip: whether people see the new version at once (`project.model_version`).
        batch_s: how long a batch should take, s.
        patience_s: how long to retry a failing backend or Label Studio before the refresh gives up, s.
    """

    ours: tuple[str, ...] = ()
    per_second: float = 0.0
    at_once: int = 1
    keep: int = 0
    flip: bool = True
    batch_s: float = 5.0
    patience_s: float = 600.0

    def list_outdated(self, served: str) -> list[str]:
        """Return those of our versions whose predictions must go."""
        others = [version for version in self.ours if version != served]
        return others[: max(0, len(others) - (self.keep - 1))] if self.keep else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes and pauses that no setting changes.

    Attributes:
        page: most tasks in one listing.
        first_batch: tasks in the first batch, before we know how long a task takes.
        largest_batch: most tasks in a batch.
        first_pause_s: the pause after the first failure, s; every later pause is twice as long.
        longest_pause_s: the longest pause, s.
    """

    page: int = 500
    first_batch: int = 4
    largest_batch: int = 100
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
