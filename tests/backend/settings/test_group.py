"""A group reads the variables that its fields name."""

from typing import Annotated

from backend.settings.bounds import Bounds
from backend.settings.group import SettingsGroup, setting
from backend.settings.parsing import host_names, integer


class Sample(SettingsGroup):
    """Three settings, as the groups of the house hold them."""

    size: Annotated[int | None, integer(Bounds(1, 9))] = setting("SAMPLE_SIZE", "its size", default=None)
    names: Annotated[tuple[str, ...], host_names()] = setting(
        "SAMPLE_NAMES", "its | names", default=lambda: ("here",), shown="this machine"
    )
    token: Annotated[str | None, host_names()] = setting("SAMPLE_TOKEN", "its key", default=None, secret=True)


def test_a_group_takes_the_variables_it_names_and_no_other() -> None:
    group, faults = Sample.read({"SAMPLE_SIZE": "3", "size": "4", "sample_size": "5", "SAMPLE_NAMES": "a, B"})
    assert not faults
    assert group == Sample(size=3, names=("a", "b"))


def test_a_fault_names_variable_value_and_rule() -> None:
    assert Sample.read({"SAMPLE_SIZE": "10"}) == (None, ["SAMPLE_SIZE='10' is not a whole number from 1 to 9"])


def test_a_fault_shows_at_most_the_beginning_of_a_long_value() -> None:
    _, (fault,) = Sample.read({"SAMPLE_SIZE": "9" * 5000})
    assert len(fault) < 300


def test_a_secrets_fault_hides_its_value() -> None:
    _, (fault,) = Sample.read({"SAMPLE_TOKEN": "s3cret"})
    assert fault.startswith("SAMPLE_TOKEN=*** ")
    assert "s3cret" not in fault


def test_the_table_shows_a_default_that_depends_on_the_machine_in_words() -> None:
    assert [tuple(row) for row in Sample.rows()] == [
        ("SAMPLE_SIZE", "", "1 to 9", "its size"),
        ("SAMPLE_NAMES", "this machine", "", "its | names"),
        ("SAMPLE_TOKEN", "", "", "its key"),
    ]
