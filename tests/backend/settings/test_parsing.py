"""From a variable's text to a value."""

from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from backend.errors import SettingsError
from backend.settings import Settings
from backend.settings.bounds import Bounds
from backend.settings.parsing import flag, folders, integer, number

SMALL = Bounds(-3, 5)


def parsed(kind: object, parser: BeforeValidator, text: object) -> object:
    return TypeAdapter(Annotated[kind, parser]).validate_python(text)


@given(st.integers())
def test_a_whole_number_is_taken_exactly_when_it_lies_in_the_bounds(value: int) -> None:
    if -3 <= value <= 5:
        assert parsed(int, integer(SMALL), str(value)) == value
    else:
        for given_value in (str(value), value):
            with pytest.raises(ValidationError, match="from -3 to 5"):
                parsed(int, integer(SMALL), given_value)


@pytest.mark.parametrize("text", ["1.5", "1e0", " 1", "one", "٣", "0x1", "1_0"])
def test_only_digits_make_a_whole_number(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a whole number"):
        parsed(int, integer(SMALL), text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "5.01", "five", ""])
def test_a_number_outside_the_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a number from -3 to 5"):
        parsed(float, number(SMALL), text)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("YES", True), ("true", True), ("0", False), ("No", False)])
def test_a_flag_is_read_as_people_write_it(text: str, value: bool) -> None:
    assert parsed(bool, flag(), text) is value


def test_a_flag_that_is_neither_is_refused() -> None:
    with pytest.raises(ValidationError, match="is not true or false"):
        parsed(bool, flag(), "on")


def test_folders_may_start_with_a_tilde_and_become_absolute() -> None:
    assert parsed(tuple[Path, ...], folders(), "~/m:/b:") == (Path.home() / "m", Path("/b"))


def test_a_home_that_there_is_not_is_told_as_every_other_fault() -> None:
    with pytest.raises(SettingsError, match="MODEL_DIR='~nobody-here/x' names the home folder of an unknown user"):
        Settings.from_env({"MODEL_DIR": "~nobody-here/x"})


def test_a_folder_on_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match="file:///folder"):
        Settings.from_env({"MODEL_DIR": "file://elsewhere/models"})


@pytest.mark.parametrize("url", ["http://studio:99999", "http://studio:0", "http://[::1", "ftp://studio"])
def test_an_address_that_nothing_can_listen_on_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL="):
        Settings.from_env({"LABEL_STUDIO_URL": url})


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"LABEL_STUDIO_URL=\*\*\* contains a user name or password") as fault:
        Settings.from_env({"LABEL_STUDIO_URL": "http://me:s3cret@studio:8080"})
    assert "s3cret" not in str(fault.value)
