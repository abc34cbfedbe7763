"""Validation images choose the weights that are kept and the end; held-out images never do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from backend.registry.figures import PROMPTS
from backend.registry.metrics import Look
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from finetuner.config import TrainConfig
from finetuner.data.embeddings import Embeddings
from finetuner.data.folds import Training
from finetuner.data.sample import Sample
from finetuner.data.split import rank
from finetuner.methods.decoder import DecoderMethod
from finetuner.progress import Progress, silent
from finetuner.training.curves import Watcher
from finetuner.training.early_stopping import EarlyStopping, best_look, is_over, validation_part
from finetuner.training.run import TrainingRun
from finetuner.training.weights import Pace, TrainedWeights
from finetuner.unfinished import Unfinished, run_key


def _looks(*ious: tuple[float, float]) -> list[Look]:
    return [
        Look(step=step, loss={"box": 0.0, "point": 0.0}, iou={"box": box, "point": point})
        for step, (box, point) in enumerate(ious)
    ]


def test_the_best_look_is_the_best_of_those_where_no_prompt_lost() -> None:
    assert best_look(_looks((0.8, 0.4), (0.81, 0.5), (0.7, 0.9))) == 1
    assert best_look(_looks((0.8, 0.4), (0.796, 0.5))) == 1
    assert best_look(_looks((0.8, 0.4), (0.79, 0.9))) == 0
    assert best_look(_looks((0.8, 0.4), (0.8, 0.4))) == 0


def test_it_is_over_when_no_prompt_gets_better_for_long_enough() -> None:
    box_still_gains = _looks((0.5, 0.6), (0.6, 0.5), (0.7, 0.4), (0.8, 0.3))
    assert not is_over(box_still_gains, patience=1)
    both_are_past = _looks((0.5, 0.5), (0.9, 0.6), (0.8, 0.7), (0.8, 0.6), (0.8, 0.6))
    assert not is_over(both_are_past, patience=3)
    assert is_over(both_are_past, patience=2)


def _pictures(sample: Sample, count: int) -> list[Sample]:
    return [
        replace(sample, image_sha256=f"{i:064x}", picture=f"{i // 2:x}" if i < 20 else f"{i:x}") for i in range(count)
    ]


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 150), extra=st.integers(0, 40))
def test_an_image_that_validates_does_so_for_ever(sample: Sample, count: int, extra: int) -> None:
    """Near-duplicates together; and those above the threshold only, so that held-out images are never among them."""
    config = TrainConfig()
    every = [picture for picture in _pictures(sample, count + extra) if rank(picture.picture) >= config.held_out_share]
    fewer = [picture for picture in every if int(picture.image_sha256, 16) < count]
    (learnt, chosen), (_, later) = (validation_part(samples, config=config) for samples in (fewer, every))
    assert sorted(map(_digest, (*learnt, *chosen))) == sorted(map(_digest, fewer))
    if chosen:
        assert set(map(_digest, chosen)) <= set(map(_digest, later))
        assert not {sample.picture for sample in learnt} & {sample.picture for sample in chosen}
        assert len({sample.picture for sample in fewer}) >= config.validation_from


def _digest(sample: Sample) -> str:
    return sample.image_sha256


def test_a_small_project_spares_no_image(sample: Sample) -> None:
    learnt, chosen = validation_part(_pictures(sample, 40), config=TrainConfig())
    assert (len(learnt), chosen) == (40, ())


@pytest.fixture
def run(
    tiny_base: BaseModel,
    tmp_path: Path,
    discs: Callable[..., tuple[Image.Image, list[Any]]],
    png: Callable[[Image.Image], bytes],
    sample: Sample,
) -> Callable[..., tuple[DecoderMethod, TrainingRun]]:
    """`run(config)`: a training on ten images that look alike but bear ten names."""
    embeddings = Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "cache", max_bytes=1 << 30), max_pixels=10**6)
    data = png(discs(0)[0])
    samples = [replace(sample, image_sha256=f"{i:064x}", picture=f"{i:x}") for i in range(10)]
    for item in samples:
        embeddings.ensure(item.image_sha256, data, again=lambda: data)

    def make(config: TrainConfig, *, progress: Progress = silent) -> tuple[DecoderMethod, TrainingRun]:
        method = DecoderMethod(tiny_base, precision="float32")
        kept = Unfinished(tmp_path / "runs", key=run_key(config.to_json()), every_s=1e-6)
        training = Training(number=1, count=1, train=tuple(samples), held_out=(), config=config)
        return method, TrainingRun(method, training, embeddings=embeddings, unfinished=kept, progress=progress)

    return make


HARMFUL = TrainConfig(
    epochs=20,
    views=1,
    decodes=None,
    precision="float32",
    learning_rate=30.0,
    validation_from=8,
    validation_share=0.5,
    patience=2,
)


def test_a_training_that_only_harms_is_stopped_and_its_beginning_is_kept(
    run: Callable[..., tuple[DecoderMethod, TrainingRun]], tiny_base: BaseModel
) -> None:
    method, training = run(HARMFUL)
    ended_at = training.train()
    assert ended_at.kept_step == 0
    assert ended_at.epochs < 20
    before = dict(tiny_base.model.mask_decoder.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in method.trainable().items())
    method, training = run(replace(HARMFUL, validation_share=0.0, epochs=2))
    assert training.train().kept_step is None
    assert not all(torch.equal(value, before[name]) for name, value in method.trainable().items())


def test_what_was_chosen_so_far_survives_a_kill(run: Callable[..., tuple[DecoderMethod, TrainingRun]]) -> None:
    config = replace(HARMFUL, learning_rate=1e-3, epochs=4, patience=9)
    unbroken, training = run(config)
    expected = training.train()
    assert training._unfinished is not None
    training._unfinished.clear()

    def kill(phase: str, **figures: Any) -> None:
        if figures["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, progress=kill)[1].train()
    method, again = run(config)
    ended_at = again.train()
    assert ended_at.resumed == 1
    assert ended_at.kept_step == expected.kept_step
    assert method.weights() == unbroken.weights()


@pytest.fixture
def line() -> tuple[nn.Parameter, TrainedWeights]:
    """A weight that a training has brought from 0 to 1."""
    weight = nn.Parameter(torch.zeros(1))
    pace = Pace(of=lambda _: 1.0, kept_share=lambda _: 0.0, weight_decay=0.0, clip_norm=1.0)
    weights = TrainedWeights({"weight": weight}, pace=pace)
    with torch.no_grad():
        weight.fill_(1.0)
    return weight, weights


@pytest.mark.parametrize(
    ("ious", "chosen"),
    [
        ({1.0: 0.800, 0.75: 0.801, 0.5: 0.797}, 0.5),  # all alike: the one that forgets least
        ({1.0: 0.800, 0.75: 0.798, 0.5: 0.780}, 0.75),
        ({1.0: 0.800, 0.75: 0.790, 0.5: 0.780}, 1.0),
    ],
)
def test_of_mixtures_that_are_about_as_good_the_one_nearest_to_the_base_is_published(
    *,
    line: tuple[nn.Parameter, TrainedWeights],
    ious: dict[float, float],
    chosen: float,
    sample: Sample,
    tiny_base: BaseModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (weight, weights), config = line, TrainConfig()

    def look(_: Watcher, *, step: int, done: float) -> Look:
        return Look(step=step, loss=dict.fromkeys(PROMPTS, done), iou=dict.fromkeys(PROMPTS, ious[weight.item()]))

    monkeypatch.setattr(Watcher, "look", look)
    stopping = EarlyStopping(
        DecoderMethod(tiny_base, precision="float32"),
        [sample],
        config=config,
        embedding=lambda _: pytest.fail("no image is looked at"),
    )
    stopping.restore(_looks((0.8, 0.8)), {"next_validation": 1.0})
    assert stopping.choose_mix(weights, config=config) == weight.item() == chosen


def test_where_nothing_validates_the_recipe_says_how_much_is_mixed(
    line: tuple[nn.Parameter, TrainedWeights], tiny_base: BaseModel
) -> None:
    weight, weights = line
    stopping = EarlyStopping(
        DecoderMethod(tiny_base, precision="float32"),
        [],
        config=TrainConfig(),
        embedding=lambda _: pytest.fail("no image is looked at"),
    )
    assert stopping.choose_mix(weights, config=TrainConfig(mix=0.625)) == weight.item() == 0.625
