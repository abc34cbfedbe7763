"""The manifest says from what a version was trained, on which images, and what it is measured against."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import EndedAt, Verdict
from backend.sam.predictor import base_predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.deciding.candidate import Served
from finetuner.recipe.judging import compare
from finetuner.recipe.notes import Learnt, note_manifest
from finetuner.recipe.trained import Trained
from finetuner.report.data import DataReport
from finetuner.training.start import Start, from_base

VERDICT = Verdict(promote=False, reasons=("as the test wants it",))


@pytest.fixture
def note(
    context: TrainingContext, dataset: Dataset, untrained: Callable[[TrainingContext, Dataset], Trained]
) -> Callable[..., Manifest]:
    """`note(start=..., served=..., context=...)`: the manifest of a training that changed nothing."""
    trained = replace(untrained(context, dataset), ended_at=(EndedAt(epochs=1, steps=16, decodes=32, seconds=2.5),))
    nothing = Served(version=context.base.name)

    def write(*, start: Start | None = None, served: Served = nothing, context: TrainingContext = context) -> Manifest:
        learnt = Learnt(
            dataset=dataset,
            data=DataReport.of([*dataset.train, *dataset.held_out], context.exclusions),
            start=start or from_base(context.base),
            trained=trained,
            compared=compare(trained, dataset=dataset, served=served, context=context),
            calibration=None,
            semantic=None,
            began_s=time.monotonic(),
        )
        return note_manifest(learnt, verdict=VERDICT, served=served, context=context)

    return write


def test_the_publisher_adds_version_project_and_files(note: Callable[..., Manifest], context: TrainingContext) -> None:
    manifest = note()
    assert (manifest.version, manifest.project_id) == ("", None)
    assert (manifest.base_model, manifest.base_fingerprint) == (context.base.name, context.base.fingerprint)
    assert (manifest.method, manifest.verdict) == ("decoder", VERDICT)


def test_a_served_version_is_a_parent_and_the_base_is_none(
    note: Callable[..., Manifest], context: TrainingContext
) -> None:
    assert note().parent is None
    assert note(served=Served(version="v1", predictor=base_predictor(context.base))).parent == "v1"


def test_images_that_the_start_and_the_base_have_learnt_from_count_as_learnt(
    note: Callable[..., Manifest], context: TrainingContext, dataset: Dataset
) -> None:
    start = replace(from_base(context.base), learnt=frozenset({"a" * 64}))
    split = note(start=start, context=replace(context, base_learnt=frozenset({"b" * 64}))).metrics.split
    assert split is not None
    assert set(split.learnt) == {sample.image_sha256 for sample in dataset.train} | {"a" * 64, "b" * 64}
    assert set(split.held_out) == {sample.image_sha256 for sample in dataset.held_out}
    assert split.train_objects == 2 * len(dataset.train)


def test_what_was_left_out_is_noted_with_its_count(note: Callable[..., Manifest], context: TrainingContext) -> None:
    context.exclusions.add("only a draft", task=4)
    assert [(row.reason, row.count) for row in note().excluded] == [("only a draft", 1)]


def test_the_end_of_the_last_training_and_the_time_are_noted(note: Callable[..., Manifest]) -> None:
    metrics = note().metrics
    assert metrics.ended_at is not None
    assert metrics.ended_at.steps == 16
    assert metrics.seconds is not None
    assert metrics.seconds.evaluating < 60
    assert metrics.forgetting is None
