"""A training that was killed goes on at the step it had, and ends as it would have without the kill, bit for bit."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

from backend.registry.checkpoint import WEIGHTS_FILE, read_manifest
from backend.settings import Settings
from finetuner.offline import train_export

EPOCHS = 10
# Saves after every step, however slow the disk is: a kill falls between two of them for sure.
TRAIN = "import finetuner.unfinished as u; u._COSTS_AT_MOST = 1e9; from backend.__main__ import main; main()"


class Killed(BaseException):
    """As job.Interrupted: no Exception."""


def _digest(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint / WEIGHTS_FILE).read_bytes()).hexdigest()


@pytest.fixture
def settings(tiny_settings: Settings) -> Settings:
    return tiny_settings.replace(save_seconds=1e-6, training_seconds=3600.0)


def _start(export: Path, out: Path, settings: Settings) -> subprocess.Popen[bytes]:
    environ = os.environ | {
        "SAMLOOP_MODEL": str(settings.sam.model),
        "SAMLOOP_CACHE_DIR": str(settings.cache.dir),
        "SAMLOOP_DEVICE": "cpu",
        "SAMLOOP_TRAIN_SECONDS": "3600",
        "SAMLOOP_SAVE_SECONDS": "0.000001",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", TRAIN, "train", "--export", export, "--images", export.with_name("images")]
    return subprocess.Popen([*command, "--out", out, "--epochs", str(EPOCHS)], env=environ)


def test_kill_9_in_the_midst_of_a_training_changes_no_bit_of_what_comes_of_it(
    export: Path, tmp_path: Path, settings: Settings
) -> None:
    """A real process; the folder beside the checkpoint is all that it leaves, and is gone at the end."""
    unbroken = train_export(export, tmp_path / "images", tmp_path / "unbroken", settings=settings, epochs=EPOCHS)
    unfinished = tmp_path / "out.unfinished"
    process = _start(export, tmp_path / "out", settings)
    _wait_for_saves(unfinished, process, count=5)
    process.send_signal(signal.SIGKILL)
    assert process.wait(120) == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (state,) = unfinished.rglob("*.state")
    assert state.name == "training-1.state"
    assert _start(export, tmp_path / "out", settings).wait(300) == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest.metrics.ended_at is not None
    assert manifest.metrics.ended_at.resumed == 1
    assert _digest(tmp_path / "out") == _digest(tmp_path / "unbroken")
    assert manifest.metrics.curves == unbroken.metrics.curves
    assert not unfinished.exists()


def _wait_for_saves(folder: Path, process: subprocess.Popen[bytes], *, count: int) -> None:
    seen: set[tuple[int, int]] = set()

    def are_saved() -> bool:
        assert process.poll() is None, "it was done before it could be killed"
        for path in folder.rglob("training-1.state"):
            stat = path.stat()
            seen.add((stat.st_ino, stat.st_mtime_ns))
        return len(seen) >= count

    wait_until(are_saved, every_s=0.002)


def test_a_cross_validation_goes_on_in_the_fold_it_had(export: Path, tmp_path: Path, settings: Settings) -> None:
    """What was trained before it is measured again, and not trained again."""
    for path in sorted((tmp_path / "images").iterdir())[2:]:
        path.unlink()
    settings = settings.replace(training_epochs=3)
    images, told = tmp_path / "images", []
    train_export(export, images, tmp_path / "unbroken", settings=settings)

    def kill(phase: str, **figures: Any) -> None:
        if phase == "training" and (figures["training"], figures["epoch"]) == (2, 2):
            raise Killed

    with pytest.raises(Killed):
        train_export(export, images, tmp_path / "out", settings=settings, progress=kill)
    manifest = train_export(
        export,
        images,
        tmp_path / "out",
        settings=settings,
        progress=lambda phase, **figures: phase == "training" and told.append(figures["training"]),
    )
    assert _digest(tmp_path / "out") == _digest(tmp_path / "unbroken")
    assert manifest.metrics.candidate == read_manifest(tmp_path / "unbroken").metrics.candidate
    assert set(told) == {2, 3}
    assert manifest.metrics.split is not None
    assert len(manifest.metrics.split.folds) == 2
    assert not (tmp_path / "out.unfinished").exists()


def test_time_that_was_spent_before_the_kill_counts(
    export: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a training that is killed often enough would never come to its end."""
    monkeypatch.setattr("finetuner.unfinished._COSTS_AT_MOST", 1e9)  # after every step
    monkeypatch.setattr("finetuner.training.run.Trainer", _slow_trainer())
    settings = settings.replace(training_seconds=30.0)

    def kill(phase: str, **figures: Any) -> None:
        if phase == "training" and figures["step"] == 6:
            raise Killed

    with pytest.raises(Killed):
        train_export(export, tmp_path / "images", tmp_path / "out", settings=settings, epochs=500, progress=kill)
    told: list[tuple[int, float]] = []
    monkeypatch.setattr("finetuner.training.run.Trainer", _slow_trainer())
    manifest = train_export(
        export,
        tmp_path / "images",
        tmp_path / "out",
        settings=settings,
        epochs=500,
        progress=lambda phase, **figures: phase == "training" and told.append((figures["step"], figures["seconds"])),
    )
    assert told[0] > (6, 12.0)
    assert manifest.metrics.ended_at is not None
    assert 30 <= manifest.metrics.ended_at.seconds < 33
    assert manifest.metrics.ended_at.steps <= 15  # two looks at the clock a step, the kill's not counted


def _slow_trainer() -> Callable[..., Any]:
    """A trainer for which a second passes whenever it looks at its clock, from a moment of its own on."""
    from finetuner.training.loop import Trainer

    seconds = iter(range(1000, 100_000))

    def make(*args: Any, **more: Any) -> Trainer:
        return Trainer(*args, **more, clock=lambda: float(next(seconds)))

    return make


def test_other_annotations_begin_another_training(export: Path, tmp_path: Path, settings: Settings) -> None:
    """The state of the old ones is not taken up: what is published has seen what the manifest names."""

    def kill(phase: str, **figures: Any) -> None:
        if phase == "training" and figures["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        train_export(export, tmp_path / "images", tmp_path / "out", settings=settings, epochs=3, progress=kill)
    assert list((tmp_path / "out.unfinished").rglob("*.state"))
    tasks = json.loads(export.read_text())
    for task in tasks:
        del task["annotations"][0]["result"][1]
    export.write_text(json.dumps(tasks))
    manifest = train_export(export, tmp_path / "images", tmp_path / "out", settings=settings, epochs=3)
    fresh = train_export(export, tmp_path / "images", tmp_path / "fresh", settings=settings, epochs=3)
    assert manifest.metrics.ended_at is not None
    assert manifest.metrics.ended_at.resumed == 0
    assert _digest(tmp_path / "out") == _digest(tmp_path / "fresh")
    assert manifest.data_digest == fresh.data_digest
    assert not (tmp_path / "out.unfinished").exists()
