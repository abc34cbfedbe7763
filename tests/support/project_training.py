"""A training of a project, with a judge that says what the test wants and a progress that is listened to."""

from collections.abc import Callable
from typing import Any

from backend.registry.metrics import Verdict
from backend.settings import Settings
from finetuner.pipeline import Outcome, train_project

Json = dict[str, Any]


def hold_lease() -> None:
    """The lease is ours."""


def judge_by(*, promote: bool) -> Callable[..., Verdict]:
    """A judge for tests: a random SAM of 96,000 weights does not get better on discs at will."""
    return lambda *_, **__: Verdict(promote=promote, reasons=("as the test wants it",))


def train_and_listen(
    project: int, settings: Settings, *, fence: Callable[[], None] = hold_lease
) -> tuple[Outcome, list[Json]]:
    told: list[Json] = []

    def progress(phase: str, **figures: Any) -> None:
        told.append({"phase": phase, **figures})

    return train_project(project, settings=settings, progress=progress, fence=fence), told
