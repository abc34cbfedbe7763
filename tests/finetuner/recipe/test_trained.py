"""Every fold trains by itself, its held-out images are measured once, and the last training's model is kept."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from backend.masks.crop import Crop
from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import SAM_FRAME
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset, assemble
from finetuner.data.embeddings import Embeddings
from finetuner.data.sample import Sample
from finetuner.recipe.trained import Trained, train_all
from finetuner.training.start import from_base


def train(dataset: Dataset, *, context: TrainingContext) -> Trained:
    short = replace(context, config=replace(context.config, epochs=1, decodes=None, objects_per_step=1))
    return train_all(dataset, start=from_base(context.base), context=short, unfinished=None)


def test_without_folds_one_training_learns_and_its_held_out_images_are_measured(
    dataset: Dataset, context: TrainingContext
) -> None:
    trained = train(dataset, context=context)
    (ended_at,) = trained.ended_at
    assert ended_at.steps == len(trained.curves.steps) == len(dataset.train)
    measured = Counter(mask.image_sha256 for mask in trained.measured)
    assert measured == {sample.image_sha256: 2 * len(sample.objects) for sample in dataset.held_out}


def test_of_a_cross_validation_the_last_training_learns_from_all_images_and_is_kept(
    samples: list[Sample], context: TrainingContext
) -> None:
    dataset = assemble(samples[:3], share=0.2, exclusions=context.exclusions)
    trained = train(dataset, context=context)
    assert [ended_at.steps for ended_at in trained.ended_at] == [2, 2, 2, 3]
    assert len(trained.curves.steps) == 3
    order = [mask.image_sha256 for mask in trained.measured]
    assert order == [sample.image_sha256 for sample in dataset.held_out for _ in range(2 * len(sample.objects))]


def test_the_predictor_that_is_kept_has_the_trained_weights(dataset: Dataset, context: TrainingContext) -> None:
    trained = train(dataset, context=context)
    (sample, *_) = dataset.held_out
    prompts = [Prompt(box=item.box) for item in sample.objects]
    with torch.no_grad():
        logits, _ = trained.method.decode(context.embeddings(sample), prompts)
    single = next(iter(trained.predictor.candidates(context.embeddings(sample), prompts, which=lambda _: (0,))))[0]
    assert trained.predictor.version == "candidate"
    rows, columns = SAM_FRAME.grid_reached(sample.height_px, sample.width_px)
    torch.testing.assert_close(single.logits[:rows, :columns], logits[0, 0, :rows, :columns], atol=1e-4, rtol=1e-3)


def test_the_same_seed_trains_the_same_weights(dataset: Dataset, context: TrainingContext) -> None:
    assert train(dataset, context=context).method.weights() == train(dataset, context=context).method.weights()


@pytest.mark.parametrize(
    ("changes", "magnification"), [({}, 1.5), ({"tiles": "off"}, None), ({"is_first": True}, None)]
)
def test_the_version_answers_in_tiles_where_that_pays_and_is_measured_so(
    dataset: Dataset,
    context: TrainingContext,
    changes: dict[str, Any],
    magnification: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finetuner.recipe.trained.choose_magnification", lambda *_, **__: 1.5)
    whole = train(dataset, context=replace(context, config=replace(context.config, tiles="off")))
    seen: set[str] = set()
    find = Embeddings._find

    def note(self: Embeddings, sample: Sample, *, crop: Crop | None = None) -> Embedding:
        seen.update(() if crop is None else [sample.image_sha256])
        return find(self, sample, crop=crop)

    monkeypatch.setattr(Embeddings, "_find", note)
    trained = train(dataset, context=replace(context, config=replace(context.config, **changes)))
    assert trained.predictor.magnification == magnification
    assert trained.method.weights() == whole.method.weights()
    assert seen == ({sample.image_sha256 for sample in dataset.held_out} if magnification else set())
