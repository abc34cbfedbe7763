"""A training begins with what is served only where that has seen no held-out image."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.registry.checkpoint import write_checkpoint
from backend.registry.metrics import StartMetrics
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel, decoder_of
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.dataset import assemble
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import Candidate, Served, learnt_images
from finetuner.methods import new_method
from finetuner.methods.decoder import DecoderMethod
from finetuner.progress import silent
from finetuner.recipe.learning import learn
from finetuner.training.start import Start

CONFIG = TrainConfig(
    epochs=1, decodes=None, seconds=300.0, precision="float32", bootstrap_rounds=20, start="served", learning_rate=1e-3
)


@pytest.fixture
def context(tiny_base: BaseModel, tmp_path: Path) -> TrainingContext:
    embeddings = Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "c", max_bytes=1 << 30), max_pixels=10**6)
    return TrainingContext(
        base=tiny_base, embeddings=embeddings, config=CONFIG, exclusions=Exclusions(), progress=silent
    )


@pytest.fixture
def samples(
    context: TrainingContext,
    discs: Callable[..., tuple[Image.Image, list[np.ndarray]]],
    png: Callable[[Image.Image], bytes],
) -> list[Sample]:
    """Nine images of nine different pictures."""
    made = []
    for seed in range(9):
        image, masks = discs(seed)
        data = png(image)
        digest = hashlib.sha256(data).hexdigest()
        context.embeddings.ensure(digest, data, again=lambda data=data: data)
        objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
        made.append(Sample(image_sha256=digest, height_px=image.height, width_px=image.width, objects=objects))
    return made


def _published(candidate: Candidate, folder: Path) -> Served:
    manifest = write_checkpoint(folder, weights=candidate.weights, manifest=replace(candidate.manifest, version="v1"))
    return Served(version="v1", learnt=learnt_images(manifest), folder=folder)


def test_the_second_training_begins_where_the_first_ended_and_owns_up_to_what_that_has_seen(
    context: TrainingContext, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = learn(samples, served=Served(version="the base"), context=context)
    assert first.manifest.metrics.start is not None
    assert first.manifest.metrics.start.why == "only the base is served"
    served, began_with = _published(first, tmp_path / "v1"), []
    put_into = Start.put_into

    def spy(self: Start, method: DecoderMethod) -> None:
        put_into(self, method)
        began_with.append({name: value.detach().clone() for name, value in method.trainable().items()})

    monkeypatch.setattr(Start, "put_into", spy)
    forgotten = min(served.learnt)
    second = learn([sample for sample in samples if sample.image_sha256 != forgotten], served=served, context=context)
    assert second.manifest.metrics.start == StartMetrics(version="v1", why="SAMLOOP_START asks for the served version")
    assert second.manifest.metrics.split is not None
    trained = decoder_of(context.base, tmp_path / "v1").state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in began_with[0].items())
    # Deleted since, but its weights have seen it: nobody may be measured on it as if they had not.
    assert forgotten in learnt_images(second.manifest)
    assert not learnt_images(second.manifest) & set(second.manifest.metrics.split.held_out)


def _start(context: TrainingContext, samples: list[Sample], **changed: Any) -> Start:
    dataset = assemble(samples, share=0.2, exclusions=Exclusions())
    given = {"served": "v1", "folder": Path("/nowhere"), "learnt": frozenset(["a" * 64])} | changed
    return Start.of(context.base, dataset=dataset, **given)


def test_what_would_flatter_begins_with_the_base(context: TrainingContext, samples: list[Sample]) -> None:
    held_out = assemble(samples, share=0.2, exclusions=Exclusions()).split.held_out
    for changed, why in (
        ({"learnt": frozenset(held_out)}, f"v1 has learnt from {len(held_out)} images that are held out now"),
        ({"learnt": frozenset()}, "v1 does not say which images it has learnt from"),
        ({"folder": None}, "only the base is served"),
        ({}, "v1 cannot be loaded: /nowhere is not a checkpoint"),
    ):
        start = _start(context, samples, **changed)
        assert (start.version, start.weights, start.learnt) == (context.base.name, None, frozenset())
        assert start.why.startswith(why)


def test_weights_that_the_method_does_not_move_are_left(context: TrainingContext) -> None:
    method = DecoderMethod(context.base)
    adapted = Start(version="v1", why="", weights={"vision_encoder.layers.0.lora_A": torch.zeros(1)})
    assert adapted.fit_to(method, base=context.base).why == (
        "method decoder cannot continue v1: it has vision_encoder.layers.0.lora_A"
    )
    lora = new_method("lora", context.base, config=CONFIG)
    alpha = lora.sizes["adapter"]["alpha"]
    other = Start(version="v1", why="", weights=dict(lora.trainable()), alpha=alpha + 1)
    assert (
        other.fit_to(lora, base=context.base).why == f"method lora cannot continue v1: it has an alpha of {alpha + 1:g}"
    )
    assert replace(other, alpha=alpha).fit_to(lora, base=context.base).weights is not None
    same = Start(version="v1", why="", weights=dict(method.trainable()))
    assert same.fit_to(method, base=context.base) is same


def test_an_adapter_that_a_training_began_with_is_seen_from_the_first_step(
    context: TrainingContext, samples: list[Sample]
) -> None:
    """One that adds nothing yet is not paid for until it joins."""
    method = new_method("lora", context.base, config=CONFIG)
    method.begin_step(1, done=0.0)
    kept = context.embeddings(samples[0]).features
    assert torch.equal(method.embed(samples[0], embeddings=context.embeddings, learns=True).features, kept)
    moved = {name: torch.full_like(value, 0.5) for name, value in method.trainable().items()}
    Start(version="v1", why="", weights=moved).put_into(method)
    seen = method.embed(samples[0], embeddings=context.embeddings, learns=True).features
    assert seen.requires_grad
    assert not kept.requires_grad
