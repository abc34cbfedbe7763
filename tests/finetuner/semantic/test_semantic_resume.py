"""A semantic head whose training was killed goes on at the step it had, and ends as it would have, bit for bit."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.pictures import draw_greys

from backend.registry.checkpoint import WEIGHTS_FILE
from backend.sam.loading import BaseModel
from backend.sam.predictor import Embedding, encode
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.data.sample import Sample
from finetuner.offline import train_export
from finetuner.semantic.learning import SemanticTrainer
from finetuner.unfinished import State, Unfinished, run_key


class Killed(BaseException):
    """As job.Interrupted: no Exception."""


@pytest.fixture(scope="module")
def trainer(tiny_base: BaseModel, sample: Sample) -> Callable[..., SemanticTrainer]:
    seen: Embedding = encode(tiny_base, draw_greys(64, 48, spread=60))
    samples = [replace(sample, image_sha256=str(n)) for n in range(3)]

    def make(**more: Any) -> SemanticTrainer:
        config = TrainConfig(head="semantic", epochs=4, seconds=1e6)
        return SemanticTrainer(tiny_base, samples, config=config, embedding=lambda _: seen, **more)

    return make


def _stepped(trainer: SemanticTrainer, count: int) -> SemanticTrainer:
    steps = trainer.steps()
    for _ in range(count):
        next(steps)
    return trainer


def test_what_follows_a_state_is_what_would_have_followed(
    trainer: Callable[..., SemanticTrainer], tmp_path: Path
) -> None:
    """In the midst of an epoch, and through the file."""
    kept = Unfinished(tmp_path, key=run_key({}), every_s=1e-6)
    kept.save(2, _stepped(trainer(), 5).state())
    again = trainer()
    state = kept.load(2)
    assert state is not None
    again.restore(state)
    assert [step.step for step in again.steps()] == list(range(6, 13))
    unbroken = trainer()
    list(unbroken.steps())
    for (name, weight), other in zip(again.head.state_dict().items(), unbroken.head.state_dict().values(), strict=True):
        assert weight.numpy().tobytes() == other.numpy().tobytes(), name


def test_time_that_was_spent_before_the_kill_counts(trainer: Callable[..., SemanticTrainer]) -> None:
    ticks = iter(range(1000))
    first = _stepped(trainer(clock=lambda: float(next(ticks))), 3)
    spent = first.state().values["seconds"]
    assert spent > 0
    again = trainer(clock=lambda: 7.0)
    again.restore(first.state())
    assert next(again.steps()).seconds == spent


@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "place"])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    trainer: Callable[..., SemanticTrainer], fault: str
) -> None:
    state, victim = _stepped(trainer(), 2).state(), trainer()
    tensors, values = dict(state.tensors), dict(state.values)
    if fault == "missing":
        del tensors["average.offset"]
    elif fault == "place":
        values["order"] = [3]
    else:
        tensors["exp_avg.offset"] = torch.zeros(9) if fault == "shape" else tensors["exp_avg.offset"] * float("nan")
    before = {name: value.clone() for name, value in victim.head.state_dict().items()}
    with pytest.raises(ValueError, match=r"average\.offset|exp_avg\.offset|does not fit 3 images"):
        victim.restore(State(tensors=tensors, values=values))
    assert victim.step == 0
    assert all(torch.equal(value, before[name]) for name, value in victim.head.state_dict().items())


def test_a_training_killed_in_its_head_changes_no_bit_of_what_comes_of_it(
    export: Path, tmp_path: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuner.unfinished._COSTS_AT_MOST", 1e9)  # after every step
    monkeypatch.setattr("finetuner.semantic.beside._REPORT_EVERY_S", 0.0)
    settings = tiny_settings.replace(save_seconds=1e-6, training_seconds=36000.0)
    how: dict[str, Any] = {"settings": settings, "head": "semantic", "epochs": 1}
    train_export(export, tmp_path / "images", tmp_path / "unbroken", **how)
    told: list[int] = []

    def kill(phase: str, **figures: Any) -> None:
        if phase == "training" and figures.get("head") == "semantic" and figures["step"] == 3:
            raise Killed

    with pytest.raises(Killed):
        train_export(export, tmp_path / "images", tmp_path / "out", **how, progress=kill)
    train_export(
        export,
        tmp_path / "images",
        tmp_path / "out",
        **how,
        progress=lambda phase, **figures: phase == "training" and told.append(figures["step"]),
    )
    assert told[0] == 4  # neither the decoder's steps nor the head's first three
    digests = [hashlib.sha256((tmp_path / out / WEIGHTS_FILE).read_bytes()).hexdigest() for out in ("unbroken", "out")]
    assert digests[0] == digests[1]
    assert not (tmp_path / "out.unfinished").exists()
