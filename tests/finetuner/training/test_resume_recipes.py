"""Whatever the recipe asks for, a training that was killed ends as an unbroken one of the same seed, bit for bit."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from finetuner.config import LOSS_MIXES, TrainConfig
from finetuner.data.embeddings import Embeddings
from finetuner.data.folds import Training
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample, picture_hash
from finetuner.methods import new_method
from finetuner.progress import Progress, silent
from finetuner.training.curves import Watcher
from finetuner.training.loop import Trainer
from finetuner.training.rounds import Rounds
from finetuner.training.run import TrainingRun, seed_all
from finetuner.training.weights import TrainedWeights
from finetuner.unfinished import State, Unfinished, run_key

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]
PLAIN = TrainConfig(
    epochs=2,
    decodes=None,
    seconds=3600.0,
    precision="float32",
    learning_rate=1e-3,
    rank=1,
    recompute=False,
    adapter_joins=0.6,
)
VALIDATED = {"validation_from": 4, "validation_share": 0.7, "patience": 99, "held_out_share": 0.05}
MIXED = {"views": 4, "replay": 0.4, "images_per_step": 2, "accumulate": 2}
RECIPES: dict[str, dict[str, Any]] = {
    "decoder, validated": {**MIXED, **VALIDATED, "mask_share": 0.7, "losses": LOSS_MIXES["focal-dice"]},
    "conv-lora": {**MIXED, "method": "conv-lora"},
}


class Killed(BaseException):
    """As job.Interrupted: no Exception."""


Train = Callable[..., tuple[bytes, Mapping[str, Any]]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image of those that validate is looked at, and saving may take however long the disk needs."""
    monkeypatch.setattr("finetuner.training.early_stopping._MOST_IMAGES", 1)
    monkeypatch.setattr("finetuner.unfinished._COSTS_AT_MOST", 1e9)


@pytest.fixture(scope="module")
def train(
    tiny_base: BaseModel, tmp_path_factory: pytest.TempPathFactory, discs: Discs, png: Callable[[Image.Image], bytes]
) -> Train:
    """`train(config, runs=folder)`: the weights of a training, what is in the folder taken up, and how it ended."""
    disk = DiskEmbeddings(tmp_path_factory.mktemp("disk"), max_bytes=1 << 30)
    embeddings = Embeddings(tiny_base, disk=disk, max_pixels=10**6)

    def sample(seed: int, **more: Any) -> Sample:
        image, masks = discs(seed)
        data = png(image)
        digest = hashlib.sha256(data).hexdigest()
        embeddings.ensure(digest, data, again=lambda: data)
        objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
        return Sample(
            image_sha256=digest,
            height_px=image.height,
            width_px=image.width,
            objects=objects,
            picture=picture_hash(image),
            **more,
        )

    few = (*(sample(seed) for seed in range(3)), sample(3, is_ground_truth=True))
    enough = (*few, *(sample(seed) for seed in range(4, 8)))
    other, held_out = sample(20), sample(21)

    def make(
        config: TrainConfig, *, runs: Path, progress: Progress = silent, every_s: float = 1e-6
    ) -> tuple[bytes, Mapping[str, Any]]:
        seed_all(config.seed)
        method = new_method(config.method, tiny_base, config=config)
        training = Training(
            number=1,
            count=1,
            train=enough if config.validation_from < 60 else few,
            held_out=(held_out,),
            config=config,
            replayed=(other,) if config.replay else (),
        )
        unfinished = Unfinished(runs, key=run_key(config.to_json()), every_s=every_s)
        run = TrainingRun(method, training, embeddings=embeddings, unfinished=unfinished, progress=progress)
        ended_at = run.train()
        return method.weights(), {**ended_at.to_json(), "curves": run.curves.metrics().to_json()}

    return make


@pytest.fixture(scope="module")
def done() -> dict[str, tuple[bytes, Mapping[str, Any]]]:
    """What was trained once for all tests."""
    return {}


@pytest.fixture
def plain(
    train: Train, done: dict[str, tuple[bytes, Mapping[str, Any]]], tmp_path: Path
) -> tuple[bytes, Mapping[str, Any]]:
    """A training by PLAIN that nobody broke off, with as many threads as a test's own."""
    if "plain" not in done:
        done["plain"] = train(PLAIN, runs=tmp_path / "plain", every_s=3600.0)
    return done["plain"]


@pytest.mark.parametrize("asked", RECIPES.values(), ids=RECIPES)
def test_a_kill_changes_no_bit(
    asked: dict[str, Any], train: Train, plain: tuple[bytes, Mapping[str, Any]], tmp_path: Path
) -> None:
    """The kill comes between two epochs. Adapters have joined, and what was asked for was done."""
    config = replace(PLAIN, **asked)
    unbroken, expected = train(config, runs=tmp_path / "unbroken")

    def kill(phase: str, **figures: Any) -> None:
        if figures["epoch"] == 1 and figures["step"] > 1:  # told at the first step too
            raise Killed

    with pytest.raises(Killed):
        train(config, runs=tmp_path / "killed", progress=kill)
    weights, ended_at = train(config, runs=tmp_path / "killed")
    assert weights == unbroken
    assert (ended_at["resumed"], expected["resumed"]) == (1, 0)
    for name in ("steps", "epochs", "decodes", "kept_step", "curves"):
        assert ended_at[name] == expected[name]
    assert (ended_at["kept_step"] is not None) == bool(ended_at["curves"]["validation"]) == ("validation_from" in asked)
    assert unbroken != plain[0]


def test_a_kill_after_the_last_step_costs_none_of_the_count(
    train: Train, plain: tuple[bytes, Mapping[str, Any]], tmp_path: Path
) -> None:
    """Nothing is left to train: what is told of it is what was trained before."""
    unbroken, expected = plain

    def kill(phase: str, **figures: Any) -> None:
        if figures["epoch"] == PLAIN.epochs:
            raise Killed

    with pytest.raises(Killed):
        train(PLAIN, runs=tmp_path / "killed", progress=kill)
    weights, ended_at = train(PLAIN, runs=tmp_path / "killed")
    assert weights == unbroken
    assert {**expected, "resumed": 1} == {**ended_at, "seconds": expected["seconds"]}
    assert ended_at["steps"] == PLAIN.epochs * 5


class _Sudden:
    """Kills at the call of that number."""

    def __init__(self, real: Callable[..., Any], *, at: int) -> None:
        self._real, self._left = real, at

    def __call__(self, *given: Any, **more: Any) -> Any:
        self._left -= 1
        if not self._left:
            raise Killed
        return self._real(*given, **more)

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        return partial(self, instance)


@pytest.fixture
def resumed_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which trainings went on."""
    steps: list[int] = []
    restore = Trainer.restore

    def spy(self: Trainer, state: State) -> None:
        restore(self, state)
        steps.append(self.ended_at.steps)

    monkeypatch.setattr(Trainer, "restore", spy)
    return steps


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ((Rounds, "learn"), [3]),  # the fourth step is under way: the third is saved at once
        ((TrainedWeights, "move"), []),  # its weights are half moved
    ],
)
def test_who_is_told_to_leave_saves_at_once_what_is_whole(  # noqa: PLR0917 - what it stands on
    where: tuple[type, str],
    step: list[int],
    train: Train,
    plain: tuple[bytes, Mapping[str, Any]],
    tmp_path: Path,
    resumed_at: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is saved otherwise: it is not time to, by far."""
    with monkeypatch.context() as sudden:
        sudden.setattr(*where, _Sudden(getattr(*where), at=4))
        with pytest.raises(Killed):
            train(PLAIN, runs=tmp_path / "killed", every_s=3600.0)
    weights, ended_at = train(PLAIN, runs=tmp_path / "killed", every_s=3600.0)
    assert resumed_at == step
    assert weights == plain[0]
    assert (ended_at["steps"], ended_at["curves"]) == (plain[1]["steps"], plain[1]["curves"])


def test_nothing_is_saved_before_the_looks_that_choose_what_is_kept_are_done(
    train: Train, tmp_path: Path, resumed_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone on with, it would look at other steps than an unbroken training."""
    config = replace(PLAIN, **VALIDATED)
    with monkeypatch.context() as sudden:
        sudden.setattr(Watcher, "look", _Sudden(Watcher.look, at=4))
        with pytest.raises(Killed):
            train(config, runs=tmp_path, every_s=3600.0)
    with pytest.raises(Killed):
        train(config, runs=tmp_path, every_s=3600.0, progress=_killer)
    assert resumed_at == []


def _killer(phase: str, **_: Any) -> None:
    raise Killed
