"""A champion that cannot be served, or that was trained on another base than the present one."""

import shutil
from pathlib import Path

import pytest
from support.project_training import judge_by, train_and_listen
from support.small_bases import write_small_base

from backend.registry.checkpoint import REPORT_FILE
from backend.registry.local import LocalRegistry
from backend.sam.loading import load_base
from backend.settings import Settings
from finetuner import pipeline


def test_a_champion_that_cannot_be_served_is_not_what_is_served(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    first, _ = train_and_listen(project, settings)
    registry = LocalRegistry(settings.registry.model_dir)
    assert first.version is not None
    weights: Path = registry.materialise(first.version) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, dtype="float32")
    served = pipeline._find_served(base, registry, registry.champion(project), cache_dir=settings.cache.dir)
    assert (served.version, served.predictor) == (base.name, None)


def test_after_a_change_of_base_the_next_version_starts_from_it_and_must_beat_the_old_one_on_its_own(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    first, _ = train_and_listen(project, settings)
    monkeypatch.undo()
    other = settings.replace(model=str(write_small_base("sam-hq", tmp_path / "other-base")))
    second, told = train_and_listen(project, other)
    registry = LocalRegistry(settings.registry.model_dir)
    old, new = sorted(registry.versions(project), key=lambda manifest: manifest.created_at)
    assert (old.version, new.version) == (first.version, second.version)
    assert (old.base_model, new.base_model) == (settings.sam.model.rsplit("/", 1)[1], "other-base")
    assert new.metrics.start is not None
    assert new.metrics.start.version == "other-base"
    assert f"IoU against {first.version}:" in second.reason
    assert {note["model"] for note in told if note.get("phase") == "evaluating" and "model" in note} >= {
        "base",
        "served",
    }
    # Measured with its own base: as good as it was then, where the same images are held out.
    assert old.metrics.candidate is not None
    assert new.metrics.served is not None
    assert new.metrics.served.box.iou == pytest.approx(old.metrics.candidate.box.iou, abs=1e-6)
    page = (registry.materialise(new.version) / REPORT_FILE).read_text()
    assert f"{first.version} was trained on another base, {old.base_model}" in page


def test_after_a_change_of_base_whose_weights_are_gone_the_new_base_is_what_must_be_beaten(
    project: int, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_sam_dir: Path
) -> None:
    passing = tmp_path / "passing"
    shutil.copytree(tiny_sam_dir, passing)
    monkeypatch.setattr("finetuner.deciding.outcome.judge", judge_by(promote=True))
    train_and_listen(project, settings.replace(model=str(passing)))
    shutil.rmtree(passing)
    base = load_base(str(write_small_base("sam-hq", tmp_path / "other-base")), cache_dir=settings.cache.dir)
    registry = LocalRegistry(settings.registry.model_dir)
    served = pipeline._find_served(base, registry, registry.champion(project), cache_dir=settings.cache.dir)
    assert (served.version, served.predictor) == ("other-base", None)
