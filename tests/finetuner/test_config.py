"""A recipe that no training can run with is refused, and says what it got."""

import json

import pytest

from finetuner.config import TrainConfig


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"held_out_share": 1.0}, "held_out_share=1.0"),
        ({"objects_per_step": 26}, "objects_per_step=26"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"most_folds": 1}, "most_folds=1"),
        ({"validation_share": 1.0}, "validation_share=1.0"),
        ({"images_per_step": 0}, "images_per_step=0"),
        (
            {"images_per_step": 2, "accumulate": 3},
            "accumulate=3, images_per_step=2 cannot be used: accumulate is from 1 to images_per_step",
        ),
        ({"mix": 0.0}, "mix=0.0"),
        ({"mixes": ()}, r"mixes=\(\)"),
        ({"patience": 0}, "patience=0 cannot be used: patience is at least 1"),
        ({"ground_truth_weight": 0}, "ground_truth_weight=0"),
        ({"decodes": 0}, "decodes=0"),
        ({"decodes_per_object": 0}, "decodes_per_object=0"),
        ({"seconds": 0.0}, "seconds=0.0 cannot be used: seconds is above 0"),
        ({"rank": 65}, "rank=65 cannot be used: rank is from 1 to 64"),
        ({"adapter_joins": 1.0}, "adapter_joins=1.0"),
        ({"mask_share": 1.5}, "mask_share=1.5 cannot be used: mask_share is from 0 to 1"),
        ({"absent_share": -0.1}, "absent_share=-0.1"),
        ({"semantic_share": 0.0}, "semantic_share=0.0"),
        ({"semantic_steps": 0}, "semantic_steps=0"),
        ({"specks_px": -1}, "specks_px=-1"),
        ({"mixes": (1.0, 0.0)}, r"mixes=\(1.0, 0.0\)"),
        ({"views": 0}, "views=0"),
        ({"head": "both"}, "head='both' cannot be used: choose one of"),
        ({"start": "last"}, "start='last'"),
        ({"outside": "none"}, "outside='none'"),
        ({"tiles": "on"}, "tiles='on'"),
        ({"unlabelled": "sky"}, "unlabelled='sky'"),
        ({"merged_regions": "cut"}, "merged_regions='cut'"),
        ({"annotators": "all"}, "annotators='all' cannot be used: choose one of latest, majority"),
    ],
)
def test_a_config_that_no_training_can_run_with_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainConfig(**wrong)


def test_a_share_that_leaves_nothing_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"replay=1.0 cannot be used: replay is from 0 to 0.9"):
        TrainConfig(replay=1.0)


def test_a_recipe_is_json_as_a_manifest_keeps_it() -> None:
    told = json.loads(json.dumps(TrainConfig(epochs=7).to_json(), allow_nan=False))
    assert told == TrainConfig(epochs=7).to_json()  # what is read back is what was written
    assert told["epochs"] == 7
    assert told.keys() == TrainConfig().to_json().keys()


@pytest.mark.parametrize(("objects", "decodes"), [(20, 6000), (300, 6000), (400, 8000), (800, 16_000), (9000, 16_000)])
def test_more_objects_are_learnt_from_longer(objects: int, decodes: int) -> None:
    assert TrainConfig().decodes_for(objects) == decodes
    assert TrainConfig(views=4).decodes_for(objects) == min(16_000, max(6000, 80 * objects))
    assert TrainConfig(decodes=500).decodes_for(objects) == 500
    assert TrainConfig(decodes=None).decodes_for(objects) is None


@pytest.mark.parametrize(("epochs", "views"), [(1, 1), (12, 1), (16, 2), (25, 3), (64, 8), (200, 8)])
def test_images_that_are_seen_often_are_seen_in_more_views(epochs: int, views: int) -> None:
    assert TrainConfig().views_for(epochs) == views
    assert TrainConfig(views=4).views_for(epochs) == 4


@pytest.mark.parametrize(("decodes", "rate"), [(20, 3e-5), (540, 3e-5), (1500, 5e-5), (6000, 1e-4), (100_000, 1e-4)])
def test_a_short_training_learns_slower(decodes: int, rate: float) -> None:
    """At the full rate it would lose with box prompts what it gains with clicks."""
    assert TrainConfig().rate_for(decodes) == pytest.approx(rate)
    assert TrainConfig(learning_rate=2e-3).rate_for(decodes) == 2e-3
