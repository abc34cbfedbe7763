"""Base, served model and candidate are measured alike, and a calibration is fitted on images that have not taught."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from backend.registry.calibration import Calibration
from backend.sam.cleaning import Cleaned
from backend.sam.predictor import base_predictor
from finetuner.context import TrainingContext
from finetuner.data.dataset import Dataset
from finetuner.data.sample import Sample
from finetuner.deciding.candidate import Served
from finetuner.recipe import judging
from finetuner.recipe.judging import compare, fit_calibration
from finetuner.recipe.trained import Trained

Untrained = Callable[[TrainingContext, Dataset], Trained]


def test_all_models_are_measured_on_the_same_objects_and_the_gain_is_told(
    context: TrainingContext, dataset: Dataset, told: list[dict[str, object]], untrained: Untrained
) -> None:
    served = Served(version="v1", predictor=base_predictor(context.base))
    compared = compare(untrained(context, dataset), dataset=dataset, served=served, context=context)
    assert compared.served is not None
    assert compared.served_name == "v1"
    objects = [(mask.image_sha256, mask.prompt) for mask in compared.base]
    assert len(objects) == 2 * sum(len(sample.objects) for sample in dataset.held_out)
    assert [(mask.image_sha256, mask.prompt) for mask in compared.served] == objects
    # The candidate is the base, so that any gain would come of how it was measured.
    assert told[-1]["phase"] == "evaluating"
    assert {name: value for name, value in told[-1].items() if name.endswith("_gain")} == {
        f"{prompt}_{metric}_gain": 0.0
        for prompt in ("box", "point")
        for metric in ("iou", "dice", "boundary_iou", "hd95_px", "over_area", "under_area")
    }


def test_where_the_base_is_served_it_is_not_measured_twice(
    context: TrainingContext, dataset: Dataset, untrained: Untrained
) -> None:
    compared = compare(untrained(context, dataset), dataset=dataset, served=Served(version="tiny"), context=context)
    assert compared.served is None


def test_a_base_that_has_learnt_from_held_out_images_is_told(
    context: TrainingContext, dataset: Dataset, untrained: Untrained
) -> None:
    knowing = replace(context, base_learnt=frozenset(sample.image_sha256 for sample in dataset.held_out))
    compared = compare(untrained(context, dataset), dataset=dataset, served=Served(version="tiny"), context=knowing)
    count = len(dataset.held_out)
    assert f"the base has learnt from {count} of these images, which favours it and the candidate" in compared.notes


def test_a_version_that_answers_in_tiles_says_so(
    context: TrainingContext, dataset: Dataset, untrained: Untrained
) -> None:
    served = Served(version="tiny")
    trained = untrained(context, dataset)
    magnified = replace(trained, predictor=replace(trained.predictor, magnification=1.5))
    whole, in_tiles = (
        " ".join(compare(one, dataset=dataset, served=served, context=context).notes) for one in (trained, magnified)
    )
    assert "tiles" not in whole
    assert "in tiles that show them up to 1.5 times as large" in in_tiles


@pytest.mark.parametrize("validates", [True, False], ids=["images that validate", "too few"])
def test_a_calibration_is_fitted_on_images_that_validate_where_there_are_enough(
    context: TrainingContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, validates: bool
) -> None:
    """With masks as they are served; held-out images never take part."""
    asked: list[tuple[object, frozenset[str]]] = []
    found = Calibration((0.1, 0.9), (0.2, 0.8))

    def calibrate(predictor: object, samples: list[Sample], **_: object) -> Calibration | None:
        asked.append((predictor, frozenset(sample.image_sha256 for sample in samples)))
        return found if not validates or len(asked) == 1 else None

    monkeypatch.setattr(judging, "calibrate", calibrate)
    config = replace(context.config, validation_from=2 if validates else 60, validation_share=0.5)
    predictor = base_predictor(context.base)

    assert fit_calibration(predictor, dataset, context=replace(context, config=config)) is found

    taught = frozenset(sample.image_sha256 for sample in dataset.train)
    ((who, images),) = asked
    assert who == Cleaned(predictor, 5)
    assert images < taught if validates else images == taught
