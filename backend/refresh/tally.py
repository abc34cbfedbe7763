"""Counts what became of a project's tasks in a refresh."""

from dataclasses import asdict, dataclass, field
from typing import Final

from backend.amounts import write_amount

_MOST_WHYS = 5
FORM: Final = 1  # of the JSON


@dataclass(slots=True)
class Tally:
    """What became of the tasks that were untouched when they were listed.

    Attributes:
        version: the version whose predictions were written.
        written: tasks that got a prediction.
        there: tasks that already had a prediction of this version.
        touched: tasks that somebody touched or deleted between listing and writing; they got no prediction.
        empty: tasks without a prediction because there was nothing to look for, or Label Studio refused it.
        doubles: duplicate predictions of this version that were deleted.
        deleted: predictions of old versions that were deleted.
        restarts: how often the walk began again because the served version changed.
        shown: whether people see the version.
        seconds: how long the refresh took, s.
        whys: the number of `empty` tasks by reason, for the first five reasons.
    """

    version: str = ""
    written: int = 0
    there: int = 0
    touched: int = 0
    empty: int = 0
    doubles: int = 0
    deleted: int = 0
    restarts: int = 0
    shown: bool = False
    seconds: float = 0.0
    whys: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str) -> None:
        """Count a task that got no prediction."""
        self.empty += 1
        self._count_why(why, 1)

    def add(self, other: "Tally") -> None:
        """Count what became of a batch's tasks."""
        for count in ("written", "there", "touched", "empty", "doubles"):
            setattr(self, count, getattr(self, count) + getattr(other, count))
        for why, tasks in other.whys.items():
            self._count_why(why, tasks)

    def _count_why(self, why: str, tasks: int) -> None:
        if why in self.whys or len(self.whys) < _MOST_WHYS:
            self.whys[why] = self.whys.get(why, 0) + tasks

    @property
    def done(self) -> int:
        """How many tasks are finished."""
        return self.written + self.there + self.touched + self.empty

    def to_json(self) -> dict[str, object]:
        """The figures as JSON, with `form`, the version of this form, and the sentence as `reason`."""
        return {"form": FORM, **asdict(self), "reason": self.sentence}

    @property
    def sentence(self) -> str:
        """The result in a sentence, for people."""
        parts = [f"{write_amount(self.written, 'task')} got predictions of {self.version}"]
        parts += [f"{self.there} had them"] if self.there else []
        parts += (
            [f"{self.touched} {'was' if self.touched == 1 else 'were'} touched meanwhile and got none"]
            if self.touched
            else []
        )
        parts += [f"{count} got none: {why}" for why, count in self.whys.items()]
        parts += [f"{write_amount(self.deleted, 'old prediction')} deleted"] if self.deleted else []
        parts += [f"people see {self.version} now"] if self.shown else []
        return "; ".join(parts)
