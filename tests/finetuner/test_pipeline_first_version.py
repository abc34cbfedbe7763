"""A project without a version: a short training goes first, and the long one starts from what it learnt."""

from dataclasses import replace
from typing import Any

import pytest
from support.project_training import hold_lease, judge_by, train_and_listen

from backend.registry.local import LocalRegistry
from backend.registry.metrics import Verdict
from backend.settings import Settings
from finetuner import pipeline
from finetuner.pipeline import train_project


@pytest.fixture
def _first_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short training goes first, however short the long one is."""
    monkeypatch.setattr(pipeline, "plan_first", lambda config, *_, **__: replace(config, is_first=True, decodes=8))
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))


@pytest.mark.usefixtures("_first_is_planned")
def test_a_project_without_a_version_gets_one_early_and_a_better_one_in_the_end(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, told = train_and_listen(project, settings)
    registry = LocalRegistry(settings.registry.model_dir)
    first, last = registry.versions(project)
    assert [pointer.version for pointer in registry.history(project)] == [first.version, last.version]
    assert (outcome.version, outcome.promoted) == (last.version, True)
    assert outcome.verdict["first"]["version"] == first.version  # type: ignore[index]
    early, late = (registry.manifest(checkpoint.version) for checkpoint in (first, last))
    assert (early.config.is_first, late.config.is_first) == (True, False)
    assert (early.parent, late.parent) == (None, first.version)
    assert early.metrics.split is not None
    assert late.metrics.split is not None
    assert early.metrics.split.held_out == late.metrics.split.held_out
    assert [note.get("part") for note in told if note["phase"] == "checking"] == ["first version", None]

    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=False))
    again, told = train_and_listen(project, settings)
    assert "first" not in again.verdict, "the project has a version"
    assert [note["phase"] for note in told].count("checking") == 1


class Killed(BaseException):
    """The process must leave at once."""


@pytest.mark.usefixtures("_first_is_planned")
@pytest.mark.parametrize("part", ["first", "long"])
def test_a_training_that_is_killed_goes_on_in_the_part_that_it_was_in(
    project: int, settings: Settings, part: str
) -> None:
    settings = settings.replace(save_seconds=1e-6)
    published = LocalRegistry(settings.registry.model_dir)

    def kill_in_its_part(phase: str, **_: Any) -> None:
        if phase == "training" and len(published.versions(project)) == (part == "long"):
            raise Killed

    with pytest.raises(Killed):
        train_project(project, settings=settings, progress=kill_in_its_part, fence=hold_lease)
    assert len(published.versions(project)) == (part == "long")

    outcome, _ = train_and_listen(project, settings)
    assert ("first" in outcome.verdict) == (part == "first")
    first, last = published.versions(project)
    resumed = [
        ended_at.resumed
        for checkpoint in (first, last)
        if (ended_at := published.manifest(checkpoint.version).metrics.ended_at) is not None
    ]
    assert resumed == ([1, 0] if part == "first" else [0, 1])
    champion = published.champion(project)
    assert champion is not None
    assert champion.version == last.version == outcome.version


@pytest.mark.usefixtures("_first_is_planned")
def test_a_first_version_stays_where_the_long_training_is_refused_and_the_reason_says_so(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = iter([True, False])
    monkeypatch.setattr(
        "finetuner.deciding.outcome.judge",
        lambda *_, **__: Verdict(promote=next(verdicts), reasons=("as the test wants it",)),
    )
    outcome, _ = train_and_listen(project, settings)
    first, last = LocalRegistry(settings.registry.model_dir).versions(project)
    assert (outcome.version, outcome.promoted) == (last.version, False)
    assert outcome.reason.endswith(f"; the first version, {first.version}, stays")
