"""One source for what a setting may be."""

import math

from backend.settings import bounds
from finetuner.config import LOSS_MIXES, TrainConfig
from finetuner.methods import AUTO, list_methods
from finetuner.presets import PRESETS


def test_bounds_hold_both_ends_and_no_nan() -> None:
    assert 1 in bounds.VIEWS
    assert 8 in bounds.VIEWS
    assert not [value for value in (0, 9, math.nan, math.inf) if value in bounds.VIEWS]
    assert str(bounds.VIEWS) == "from 1 to 8"


def test_the_names_are_those_of_what_they_choose() -> None:
    assert set(bounds.METHODS) == {AUTO, *list_methods()}
    assert set(bounds.LOSSES) == set(LOSS_MIXES)
    assert set(bounds.PRESETS) == {"auto", *PRESETS}


def test_the_recipes_own_defaults_lie_in_the_bounds() -> None:
    recipe = TrainConfig()
    assert all(recipe.views_for(epochs) in bounds.VIEWS for epochs in (1, 1000))
    assert recipe.replay in bounds.REPLAY
    assert recipe.seconds in bounds.TRAINING_SECONDS
    assert recipe.epochs in bounds.EPOCHS
