"""A run reports its progress, saves its state, and resumes from it; it starts again from a state that it cannot use."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.embeddings.memory import EmbeddingKey
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.data.embeddings import Embeddings
from finetuner.data.folds import Training
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.methods.base import Asked
from finetuner.methods.decoder import DecoderMethod
from finetuner.training.run import TrainingRun, seed_all
from finetuner.unfinished import State, Unfinished, run_key

CONFIG = TrainConfig(epochs=2, decodes=None, objects_per_step=1, corrective_share=0.0)
KEY = run_key({})


class Left(BaseException):
    """As job.Interrupted: no Exception."""


@pytest.fixture
def embeddings(tiny_base: BaseModel, tmp_path: Path) -> Embeddings:
    return Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "cache", max_bytes=1 << 26), max_pixels=10**6)


@pytest.fixture
def training(
    tiny_base: BaseModel,
    embeddings: Embeddings,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
) -> Training:
    """Three images to learn from, one held out; two epochs have six steps."""
    samples = []
    for seed in range(4):
        image, masks = discs(seed)
        data, digest = png(image), f"{seed}" * 64
        embeddings._disk.put(EmbeddingKey.of(digest, tiny_base), embeddings._encode(data))
        objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
        samples.append(Sample(image_sha256=digest, height_px=image.height, width_px=image.width, objects=objects))
    return Training(number=1, count=1, train=tuple(samples[:3]), held_out=tuple(samples[3:]), config=CONFIG)


@pytest.fixture
def begin(tiny_base: BaseModel, embeddings: Embeddings, training: Training) -> Callable[..., "Begun"]:
    """`begin(unfinished)`: a run before its first step."""
    return lambda unfinished=None: Begun(tiny_base, training, embeddings=embeddings, unfinished=unfinished)


class Begun:
    """A run, its method, and what it reports."""

    def __init__(
        self, base: BaseModel, training: Training, *, embeddings: Embeddings, unfinished: Unfinished | None
    ) -> None:
        self.reports: list[dict[str, object]] = []
        seed_all(0)
        self.method = DecoderMethod(base)
        self.run = TrainingRun(self.method, training, embeddings=embeddings, unfinished=unfinished, progress=self._hear)

    def _hear(self, phase: str, **figures: object) -> None:
        self.reports.append({"phase": phase, **figures})


@pytest.fixture
def unfinished(tmp_path: Path) -> Callable[[], Unfinished]:
    """`unfinished()`: the states in one folder, as another process opens them."""
    return lambda: Unfinished(tmp_path / "states", key=KEY, every_s=3600.0)


def test_the_first_step_and_the_end_of_every_epoch_are_reported(begin: Callable[..., Begun]) -> None:
    begun = begin()
    ended_at = begun.run.train()
    assert [(report["step"], report["epoch"]) for report in begun.reports] == [(1, 1), (3, 1), (6, 2)]
    assert begun.reports[-1]["share"] == 1.0
    assert (ended_at.steps, ended_at.epochs, ended_at.resumed) == (6, 2, 0)
    assert [look.step for look in begun.run.curves.looks][:1] == [0]
    assert [look.step for look in begun.run.curves.looks][-1:] == [6]


def test_told_to_leave_within_a_step_it_saves_and_the_next_process_ends_with_the_same_weights(
    begin: Callable[..., Begun], unfinished: Callable[[], Unfinished], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin()
    whole.run.train()
    leaving = begin(unfinished())
    decode = leaving.method.decode_several

    def leave(images: Sequence[Asked]) -> object:
        if len(leaving.run.curves.steps) == 4 and torch.is_grad_enabled():  # in a step, not in a measurement
            raise Left
        return decode(images)

    monkeypatch.setattr(leaving.method, "decode_several", leave)
    with pytest.raises(Left):
        leaving.run.train()
    resumed = begin(unfinished())
    assert resumed.run.train().resumed == 1
    assert [report["step"] for report in resumed.reports] == [6]
    assert resumed.method.weights() == whole.method.weights()
    assert resumed.run.curves.steps == whole.run.curves.steps


def test_a_finished_training_is_not_trained_again(
    begin: Callable[..., Begun], unfinished: Callable[[], Unfinished]
) -> None:
    first = begin(unfinished())
    ended_at = first.run.train()
    second = begin(unfinished())
    assert second.run.train() == ended_at
    assert second.reports == []
    assert second.method.weights() == first.method.weights()
    assert second.run.curves.steps == first.run.curves.steps


def test_a_state_that_it_cannot_use_is_forgotten_and_the_training_starts_again(
    begin: Callable[..., Begun], unfinished: Callable[[], Unfinished]
) -> None:
    unfinished().save(1, State(tensors={}, values={"next_look": 0.5}))
    begun = begin(unfinished())
    assert begun.run.train().steps == 6
    assert begun.reports[0]["step"] == 1
    assert "resumed" not in begun.reports[0]


def test_a_training_that_fails_saves_nothing(
    begin: Callable[..., Begun], unfinished: Callable[[], Unfinished], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begin(unfinished())

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(begun.method, "decode_several", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        begun.run.train()
    assert unfinished().load(1) is None
