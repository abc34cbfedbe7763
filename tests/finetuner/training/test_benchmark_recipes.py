"""The bench of recipes compares shares of the trained weights, not of weights that a training has mixed already."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.few_images import Curve
from benchmarks.recipes import Bench, find_weights, mixed, train_whole
from PIL import Image

from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.folds import Training
from finetuner.data.sample import Sample
from finetuner.methods.decoder import DecoderMethod
from finetuner.progress import silent
from finetuner.training.run import TrainingRun, seed_all

CONFIG = TrainConfig(epochs=1, decodes=None, corrective_share=0.0, learning_rate=1e-2)


@pytest.fixture
def samples(sample: Sample) -> tuple[Sample, ...]:
    return tuple(replace(sample, image_sha256=f"{number:064x}") for number in range(2))


@pytest.fixture
def embeddings(
    tiny_base: BaseModel,
    tmp_path: Path,
    discs: Callable[..., tuple[Image.Image, list[Any]]],
    png: Callable[[Image.Image], bytes],
    samples: tuple[Sample, ...],
) -> Embeddings:
    embeddings = Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "cache", max_bytes=1 << 26), max_pixels=10**6)
    data = png(discs(0)[0])
    for item in samples:
        embeddings.ensure(item.image_sha256, data, again=lambda: data)
    return embeddings


def test_the_published_weights_are_the_configured_share_of_the_weights_that_the_bench_trains(
    tiny_base: BaseModel, samples: tuple[Sample, ...], embeddings: Embeddings
) -> None:
    seed_all(0)
    served = DecoderMethod(tiny_base, precision="float32")
    training = Training(number=1, count=1, train=samples, held_out=(), config=CONFIG)
    TrainingRun(served, training, embeddings=embeddings, unfinished=None, progress=silent).train()
    seed_all(0)
    benched = DecoderMethod(tiny_base, precision="float32")
    base = {name: weight.detach().clone() for name, weight in benched.trainable().items()}
    train_whole(benched, samples, config=CONFIG, embeddings=embeddings)
    last = {name: weight.detach().clone() for name, weight in benched.trainable().items()}
    assert any(not torch.allclose(last[name], weight) for name, weight in served.trainable().items())

    mixed(benched, base, last, CONFIG.mix)
    for name, weight in served.trainable().items():
        torch.testing.assert_close(benched.trainable()[name], weight)


def test_kept_weights_are_measured_again_without_a_training(
    tiny_base: BaseModel, tmp_path: Path, samples: tuple[Sample, ...], embeddings: Embeddings
) -> None:
    kept = tmp_path / "weights" / "discs-0.safetensors"
    method = DecoderMethod(tiny_base, precision="float32")
    first = find_weights(kept, method, samples, config=CONFIG, embeddings=embeddings)
    again = find_weights(kept, method, (), config=CONFIG, embeddings=embeddings)
    assert (again.decodes, again.commit) == (first.decodes, first.commit)
    assert first.decodes > 0
    torch.testing.assert_close(again.tensors, first.tensors, rtol=0, atol=0)


def test_a_curve_measures_every_object_of_the_held_out_images_without_a_training_and_after_one(
    tiny_base: BaseModel, tmp_path: Path, samples: tuple[Sample, ...], embeddings: Embeddings
) -> None:
    context = TrainingContext(
        base=tiny_base, embeddings=embeddings, config=CONFIG, exclusions=Exclusions(), progress=silent
    )
    curve = Curve(Bench(tmp_path, tmp_path, context, Settings()), "nuclei", learnt=samples, held_out=samples[:1])
    assert curve.counts == (0, 2)
    none, everything = map(curve.measure, curve.counts)
    assert (none["decodes"], everything["images"]) == (0, 2)
    assert everything["decodes"] > 0
    assert len(none["rows"]) == len(everything["rows"]) == 2 * len(samples[0].objects)
    assert none["rows"] != everything["rows"]
