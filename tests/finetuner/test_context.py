"""What a killed training goes on from belongs to one recipe, one base and one order of samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from backend.masks.prompt import Box, Prompt
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Embedding, PredictedMask, Predictor
from backend.settings import Settings
from finetuner import context as context_module
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.sample import Sample
from finetuner.unfinished import State

Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]


@dataclass(frozen=True, slots=True)
class Speckled(Predictor):
    """A predictor that draws the truth, and one pixel beside it."""

    truths: Mapping[Box, np.ndarray] = field(kw_only=True)

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        return tuple(self._answer(prompt) for prompt in prompts)

    def _answer(self, prompt: Prompt) -> PredictedMask:
        if prompt.box is not None:
            mask = self.truths[prompt.box].copy()
        else:
            (click,) = prompt.clicks
            mask = next(truth for truth in self.truths.values() if truth[int(click.y_px), int(click.x_px)]).copy()
        mask[0, 0] = True
        return PredictedMask(mask=mask, score=1.0, low_res_logits=np.zeros((8, 8), np.float32), predicted_iou=1.0)


STATE = State(tensors={"weight": torch.ones(2)}, values={"step": 3})


@pytest.fixture
def context(tiny_base: BaseModel, tmp_path: Path) -> TrainingContext:
    return TrainingContext(
        base=tiny_base,
        embeddings=Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path, max_bytes=1 << 30), max_pixels=10**6),
        config=TrainConfig(epochs=2),
        exclusions=Exclusions(),
        progress=Mock(),
        unfinished_in=tmp_path / "runs",
        save_every_s=1.0,
    )


def _is_found(context: TrainingContext, samples: list[Sample], *, served: str = "v1") -> bool:
    unfinished = context.open_unfinished(samples, served=served)
    assert unfinished is not None
    return unfinished.load(1) is not None


@pytest.fixture
def two(sample: Sample) -> list[Sample]:
    return [sample, replace(sample, image_sha256="1" * 64)]


@pytest.fixture
def saved(context: TrainingContext, two: list[Sample]) -> TrainingContext:
    unfinished = context.open_unfinished(two, served="v1")
    assert unfinished is not None
    unfinished.save(1, STATE)
    return context


def test_the_same_training_finds_its_state(saved: TrainingContext, two: list[Sample]) -> None:
    assert _is_found(saved, two)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": TrainConfig(epochs=3)},
        {"base": "other weights"},
        {"base": "other arithmetic"},
    ],
    ids=["recipe", "weights", "arithmetic"],
)
def test_another_training_finds_none(saved: TrainingContext, two: list[Sample], changes: dict[str, Any]) -> None:
    if "base" in changes:
        name = "fingerprint" if changes["base"] == "other weights" else "encoder_fingerprint"
        changes = {"base": replace(saved.base, **{name: "another"})}
    assert not _is_found(replace(saved, **changes), two)


def test_other_samples_another_order_or_another_rival_find_none(saved: TrainingContext, two: list[Sample]) -> None:
    assert not _is_found(saved, two[:1])
    assert not _is_found(saved, two[::-1])
    assert not _is_found(saved, two, served="v2")


def test_masks_are_measured_as_annotators_see_them(
    context: TrainingContext, sample: Sample, discs: Discs, png: Callable[[Image.Image], bytes]
) -> None:
    """One pixel too much in a corner: with specks of 2 px taken out, the masks are the truth itself."""
    data = png(discs(0)[0])
    context.embeddings.ensure(sample.image_sha256, data, again=lambda: data)
    speckled = Speckled(
        context.base,
        decoder_of(context.base, None),
        version="speckled",
        truths={item.box: item.mask for item in sample.objects},
    )
    cleaned = replace(context, config=replace(context.config, specks_px=2))

    assert all(0.9 < mask.values["iou"] < 1 for mask in context.measure(speckled, [sample], who="it"))
    assert all(mask.values["iou"] == 1 for mask in cleaned.measure(speckled, [sample], who="it"))


@pytest.mark.parametrize("off", [{"unfinished_in": None}, {"save_every_s": 0.0}], ids=["no folder", "no time"])
def test_nothing_is_kept_where_nobody_asked_for_it(
    context: TrainingContext, sample: Sample, off: dict[str, Any]
) -> None:
    assert replace(context, **off).open_unfinished([sample], served="v1") is None


def test_views_depend_on_epochs_unless_they_take_long_to_encode(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "load_base", lambda *_, **__: tiny_base)

    def views(config: TrainConfig) -> int | None:
        return TrainingContext.open(Settings(cache_dir=tmp_path), config=config, progress=Mock()).config.views

    assert views(TrainConfig()) is None
    monkeypatch.setattr(context_module, "QUICK_ON_A_CPU", 1)
    assert views(TrainConfig()) == 1
    assert views(TrainConfig(views=4)) == 4
