"""Trainings, and the predictions that follow them."""

import pytest

from backend.errors import SettingsError
from backend.settings import Settings


def test_a_training_that_may_take_no_time_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"SAMLOOP_TRAIN_SECONDS='0' is not a number from 1 to 86400"):
        Settings.from_env({"SAMLOOP_TRAIN_SECONDS": "0"})


@pytest.mark.parametrize("text", ["0.91", "1"])
def test_a_training_that_would_see_none_of_its_own_images_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="SAMLOOP_REPLAY"):
        Settings.from_env({"SAMLOOP_REPLAY": text})


def test_a_step_has_the_presets_size_unless_it_is_named() -> None:
    assert Settings.from_env({}).training.images_per_step is None
    assert Settings.from_env({"SAMLOOP_IMAGES_PER_STEP": "4"}).training.images_per_step == 4


def test_a_refresh_can_be_switched_off() -> None:
    assert Settings.from_env({}).predictions.refresh
    assert not Settings.from_env({"SAMLOOP_REFRESH": "no"}).predictions.refresh
