"""When a short training goes before the long one, and what it leaves to that."""

from dataclasses import replace

import numpy as np
import pytest

from finetuner.config import TrainConfig
from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample
from finetuner.recipe.first import plan_first

CONFIG = TrainConfig(method="lora", head="semantic", forgetting=True, seconds=600.0, decodes=16_000, epochs=200)


def samples(images: int, *, objects: int = 10) -> list[Sample]:
    masks = (LabelledMask.of(np.ones((4, 4), bool), label=None),) * objects
    return [
        Sample(image_sha256=f"{number:064}", height_px=4, width_px=4, objects=masks, picture=f"{number:016}")
        for number in range(images)
    ]


def test_the_first_version_is_a_short_training_of_the_decoder_alone_by_images_as_they_are() -> None:
    first = plan_first(CONFIG, samples(20), seconds=60.0)
    assert first is not None
    changed = {name for name, value in first.to_json().items() if value != CONFIG.to_json()[name]}
    assert changed == {"is_first", "method", "head", "forgetting", "views", "decodes", "seconds"}
    assert (first.method, first.head, first.decodes, first.seconds) == ("decoder", "promptable", 1200, 60.0)
    assert first.views == 1


@pytest.mark.parametrize(
    ("config", "images", "seconds"),
    [
        pytest.param(CONFIG, 20, 0.0, id="the setting asks for none"),
        pytest.param(replace(CONFIG, seconds=250.0), 20, 60.0, id="the long training is over in a few minutes"),
        pytest.param(replace(CONFIG, decodes=4000), 20, 60.0, id="it is bounded by its work"),
        pytest.param(replace(CONFIG, epochs=20), 20, 60.0, id="it is bounded by its epochs"),
        pytest.param(CONFIG, 7, 60.0, id="every image teaches the final model"),
    ],
)
def test_there_is_no_first_version_where_it_would_not_pay(config: TrainConfig, images: int, seconds: float) -> None:
    assert plan_first(config, samples(images), seconds=seconds) is None


def test_without_a_bound_on_decodes_the_epochs_tell_how_long_the_training_is() -> None:
    assert plan_first(replace(CONFIG, decodes=None), samples(20), seconds=60.0) is not None
    assert plan_first(replace(CONFIG, decodes=None, epochs=1), samples(20), seconds=60.0) is None
