"""The recipe as a whole: what is told before it, how a small project is judged, and against which images."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from backend.errors import NothingToLearn
from backend.registry.calibration import Calibration
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import base_predictor
from finetuner.config import TrainConfig
from finetuner.context import TrainingContext
from finetuner.data import generic
from finetuner.data.embeddings import Embeddings
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample, picture_hash
from finetuner.deciding import outcome
from finetuner.deciding.candidate import Candidate, Served, learnt_images
from finetuner.recipe import judging
from finetuner.recipe.learning import learn
from finetuner.training import run as training_run
from finetuner.training.loop import Trainer

Json = dict[str, Any]
CONFIG = TrainConfig(epochs=50, decodes=24, seconds=300.0, precision="float32", bootstrap_rounds=50)
Discs = Callable[..., tuple[Image.Image, list[np.ndarray]]]


class Spy(Trainer):
    """A trainer that notes what it is given."""

    noted: list[tuple[frozenset[str], TrainConfig]]

    def __init__(self, method: Any, samples: Sequence[Sample], *, config: TrainConfig, **more: Any) -> None:
        self.noted.append((frozenset(sample.image_sha256 for sample in samples), config))
        super().__init__(method, samples, config=config, **more)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[frozenset[str], TrainConfig]]:
    """What every training of the test was given: digests of its images, and its bounds."""
    Spy.noted = []
    monkeypatch.setattr(training_run, "Trainer", Spy)
    return Spy.noted


@pytest.fixture
def told() -> list[Json]:
    """What the progress was told."""
    return []


@pytest.fixture
def context(lively_base: BaseModel, tmp_path: Path, told: list[Json]) -> TrainingContext:
    embeddings = Embeddings(lively_base, disk=DiskEmbeddings(tmp_path, max_bytes=1 << 30), max_pixels=10**6)
    return TrainingContext(
        base=lively_base,
        embeddings=embeddings,
        config=CONFIG,
        exclusions=Exclusions(),
        progress=lambda phase, **figures: told.append({"phase": phase, **figures}),
    )


@pytest.fixture
def samples(context: TrainingContext, discs: Discs, png: Callable[[Image.Image], bytes]) -> Callable[..., list[Sample]]:
    """`samples([1, 2])`: the discs of these seeds, encoded."""

    def make(seeds: Iterable[int]) -> list[Sample]:
        made = []
        for seed in seeds:
            image, masks = discs(seed)
            data = png(image)
            digest = hashlib.sha256(data).hexdigest()
            context.embeddings.ensure(digest, data, again=lambda data=data: data)
            objects = tuple(LabelledMask.of(mask, label="Disc") for mask in masks)
            made.append(
                Sample(
                    image_sha256=digest,
                    height_px=image.height,
                    width_px=image.width,
                    objects=objects,
                    picture=picture_hash(image),
                )
            )
        return made

    return make


def _served(context: TrainingContext, learnt: Iterable[Sample] = ()) -> Served:
    return Served(
        version="v1",
        predictor=base_predictor(context.base),
        learnt=frozenset(sample.image_sha256 for sample in learnt),
    )


def _learn(context: TrainingContext, samples: list[Sample], served: Served | None = None) -> Candidate:
    return learn(samples, served=served or Served(version="the base"), context=context)


def test_a_small_project_is_judged_by_models_that_had_not_seen_the_image(
    context: TrainingContext, samples: Callable[..., list[Sample]], trainings: list[tuple[frozenset[str], TrainConfig]]
) -> None:
    given = samples(range(3))
    candidate = _learn(context, given)
    everything = frozenset(sample.image_sha256 for sample in given)
    *folds, (last, _) = [(images, config) for images, config in trainings]
    assert sorted(map(len, (everything - images for images, _ in folds))) == [1, 1, 1]
    assert frozenset.union(*(everything - images for images, _ in folds)) == everything
    assert last == everything

    metrics = candidate.manifest.metrics
    assert metrics.candidate is not None
    assert metrics.split is not None
    assert metrics.curves is not None
    assert metrics.ended_at is not None
    assert (metrics.images, metrics.objects, metrics.candidate.with_prompt("box").n) == (3, 6, 6)
    assert [len(fold.held_out) for fold in metrics.split.folds] == [1, 1, 1]
    assert metrics.split.sentence in candidate.verdict.sentence
    assert "cross-validated in 3 folds" in metrics.split.sentence
    assert learnt_images(candidate.manifest) == everything
    looks = metrics.curves.held_out
    assert looks[0].step == 0 < looks[-1].step
    assert metrics.curves.training[-1].step == metrics.ended_at.steps
    json.dumps(metrics.to_json(), allow_nan=False)


def test_the_trainings_of_a_cross_validation_cost_what_one_does(
    context: TrainingContext, samples: Callable[..., list[Sample]], trainings: list[tuple[frozenset[str], TrainConfig]]
) -> None:
    _learn(context, samples(range(3)))
    assert [(config.decodes, config.seconds) for _, config in trainings] == [(6, 75.0)] * 4
    trainings.clear()
    _learn(replace(context, config=replace(CONFIG, most_folds=2)), samples(range(3)))
    assert [(config.decodes, config.seconds) for _, config in trainings] == [(8, 100.0)] * 3


def test_from_eight_pictures_on_there_is_one_training_with_all_of_the_budget(
    context: TrainingContext, samples: Callable[..., list[Sample]], trainings: list[tuple[frozenset[str], TrainConfig]]
) -> None:
    candidate = _learn(context, samples(range(8)))
    ((images, config),) = trainings
    assert config == CONFIG
    assert candidate.manifest.metrics.split is not None
    held_out = frozenset(candidate.manifest.metrics.split.held_out)
    assert held_out
    assert not held_out & images
    assert learnt_images(candidate.manifest) == images
    assert "cross-validated" not in candidate.verdict.sentence


def test_the_data_are_reported_before_the_training_and_kept(
    context: TrainingContext, samples: Callable[..., list[Sample]], told: list[Json]
) -> None:
    context.exclusions.add("only a draft", task=4)
    candidate = _learn(context, samples(range(2)))
    phases = list(dict.fromkeys(note["phase"] for note in told))
    assert phases == ["checking", "splitting", "training", "evaluating"]
    (checked,) = [note for note in told if note["phase"] == "checking"]
    assert (checked["images"], checked["objects"], checked["left_out"]) == (2, 4, 1)
    assert "left out  1 x only a draft" in checked["table"]
    data = candidate.manifest.metrics.data
    assert data is not None
    assert (data.objects, data.labels["Disc"].images) == (4, 2)
    assert [note["training"] for note in told if note["phase"] == "training"][-1] == 3


def test_what_cannot_be_learnt_from_is_reported_too_and_then_refused(
    context: TrainingContext, told: list[Json]
) -> None:
    with pytest.raises(NothingToLearn, match="no usable image"):
        _learn(context, [])
    assert [note["phase"] for note in told] == ["checking"]


def test_what_is_served_is_compared_on_images_that_it_has_not_learnt_from(
    context: TrainingContext, samples: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, compared = samples(range(5)), []
    differences, label_differences = outcome.differences, outcome.label_differences

    def spied(found: Callable[..., Any]) -> Callable[..., Any]:
        def spy(base: Sequence[Any], candidate: Sequence[Any], **more: Any) -> Any:
            assert [row.image_sha256 for row in base] == [row.image_sha256 for row in candidate]
            compared.append(frozenset(row.image_sha256 for row in candidate))
            return found(base, candidate, **more)

        return spy

    monkeypatch.setattr(outcome, "differences", spied(differences))
    monkeypatch.setattr(outcome, "label_differences", spied(label_differences))
    candidate = _learn(context, given, _served(context, given[:3]))
    with_base = frozenset(sample.image_sha256 for sample in given)
    with_served = frozenset(sample.image_sha256 for sample in given[3:])
    # By prompt and by label for the verdict, by prompt for the manifest.
    assert Counter(compared) == {with_base: 3, with_served: 3}
    assert "compared with v1 on the 2 images that it has not learnt from" in candidate.verdict.sentence
    compared.clear()
    candidate = _learn(context, given, _served(context, given[:4]))
    assert set(compared) == {with_base}
    assert "v1 has learnt from the images of this comparison, which favours it" in candidate.verdict.sentence
    assert "learnt from the images" not in _learn(context, given, _served(context)).verdict.sentence


def test_scores_are_calibrated_on_validation_images_where_there_are_any(
    context: TrainingContext, samples: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those neither taught nor judge; a project without them takes a few objects of what it has learnt from."""
    asked: list[frozenset[str]] = []
    calibration = Calibration((0.0, 1.0), (0.5, 0.6))

    def spy(predictor: Any, given: Sequence[Sample], **more: Any) -> Calibration | None:
        asked.append(frozenset(sample.image_sha256 for sample in given))
        return calibration if len(asked) > 1 else None

    monkeypatch.setattr(judging, "calibrate", spy)
    given = samples(range(14))
    config = replace(CONFIG, validation_from=4, validation_share=0.7, held_out_share=0.1)
    chosen = _learn(replace(context, config=config), given).manifest.metrics
    assert chosen.split is not None
    assert chosen.curves is not None
    assert 4 <= len(asked[0]) < len(chosen.split.learnt)
    assert asked[0] < asked[1] == set(chosen.split.learnt)  # those were too few
    assert chosen.calibration == calibration
    assert chosen.curves.validation[0].step == 0
    plain = _learn(context, given).manifest.metrics
    assert plain.split is not None
    assert plain.curves is not None
    assert asked[2] == set(plain.split.learnt)
    assert plain.curves.validation == ()


@pytest.mark.parametrize("method", ["decoder", "lora"])
def test_the_base_answers_held_out_images_that_look_unlike_the_others(  # noqa: PLR0917 - fixtures
    method: str,
    context: TrainingContext,
    samples: Callable[..., list[Sample]],
    png: Callable[[Image.Image], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The verdict says so, its figures are the base's there, and the checkpoint carries what it is told by."""
    odd = Image.new("RGB", (96, 64), (250, 20, 180))
    monkeypatch.setattr(generic, "photograph", lambda _: png(odd))
    given, data = samples(range(5)), png(odd)
    digest = hashlib.sha256(data).hexdigest()
    context.embeddings.ensure(digest, data, again=lambda: data)
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    objects = (LabelledMask.of(mask, label="Disc"),)
    stranger = Sample(image_sha256=digest, height_px=64, width_px=96, objects=objects, picture="f" * 16)
    config = replace(CONFIG, method=method, most_folds=3)

    candidate = _learn(replace(context, config=config, generic_in=tmp_path), [*given, stranger])
    domain = candidate.manifest.metrics.domain
    assert domain is not None
    assert (domain.learnt, domain.others, domain.held_out, domain.outside) == (6, 34, 6, 1)
    assert "the base answers 1 of 6 held-out images" in candidate.verdict.sentence
    state = safetensors.torch.load(candidate.weights)
    assert (len(state["domain.learnt"]), len(state["domain.others"])) == (6, 34)

    everywhere = replace(context, config=replace(config, outside="trained"), generic_in=tmp_path)
    candidate = _learn(everywhere, [*given, stranger])
    assert candidate.manifest.metrics.domain is None
    assert "the base answers" not in candidate.verdict.sentence
