"""One frozen Settings, every fault told at once."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.errors import SettingsError
from backend.settings import Settings, report_unknown_variables, settings_rows
from backend.settings.group import Row
from backend.settings.root import setting_names


def test_an_empty_environment_gives_usable_defaults() -> None:
    settings = Settings.from_env({})
    assert Path(settings.registry.model_dir).is_absolute()
    assert settings.queue.redis_url is None
    assert settings.sam.device == "auto"


def test_an_empty_variable_counts_as_absent_as_compose_files_write_them() -> None:
    assert Settings.from_env({"LABEL_STUDIO_API_KEY": "", "SAMLOOP_CACHE_MIB": ""}) == Settings.from_env({})


def test_every_fault_of_every_group_is_told_at_once_with_the_value_met() -> None:
    with pytest.raises(SettingsError) as fault:
        Settings.from_env({"LABEL_STUDIO_URL": "studio", "SAMLOOP_CACHE_MIB": "lots", "SAMLOOP_DEVICE": "tpu"})
    for part in ("LABEL_STUDIO_URL='studio'", "SAMLOOP_CACHE_MIB='lots'", "SAMLOOP_DEVICE='tpu'", "auto, cpu"):
        assert part in str(fault.value)


def test_a_misspelt_variable_is_told_with_the_nearest_name() -> None:
    (near, far) = report_unknown_variables(
        {"SAMLOOP_TRAIN_SECOND": "9", "SAMLOOP_ZZZ": "1", "SAMLOOP_MODEL": "x", "A": ""}
    )
    assert near.startswith(
        "SAMLOOP_TRAIN_SECOND is not a setting and has no effect: did you mean SAMLOOP_TRAIN_SECONDS?"
    )
    assert "did you mean" not in far
    assert "`samloop settings`" in far


def test_secrets_show_neither_in_the_repr_nor_in_a_fault() -> None:
    environ = {"LABEL_STUDIO_API_KEY": "s3cret", "REDIS_URL": "redis://:s3cret@host", "BASIC_AUTH_USER": "u"}
    with pytest.raises(SettingsError, match="go together") as fault:
        Settings.from_env(environ | {"REDIS_URL": "http://:s3cret@host"})
    assert "s3cret" not in str(fault.value)
    assert "s3cret" not in repr(Settings.from_env(environ | {"BASIC_AUTH_PASS": "s3cret"}))


def test_code_names_settings_without_their_groups() -> None:
    settings = Settings(disk_mib=64, label_studio_url="http://studio:8080/", cache_dir="/cache")
    assert (settings.cache.disk_mib, settings.cache.dir) == (64, Path("/cache"))
    assert settings.label_studio.url == "http://studio:8080"


def test_code_that_makes_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMLOOP_VIEWS", "3")
    assert Settings().training.views is None
    assert Settings.from_env().training.views == 3


def test_a_change_keeps_the_other_settings_of_its_group_and_is_checked() -> None:
    settings = Settings(views=2, api_key="k").replace(replay=0.5)
    assert (settings.training.views, settings.training.replay, settings.label_studio.api_key) == (2, 0.5, "k")
    with pytest.raises(ValidationError, match="from 1 to 8"):
        settings.replace(views=9)


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="vews"):
        Settings(vews=2)


def test_a_refused_value_is_not_shown_since_it_may_be_a_secret() -> None:
    with pytest.raises(ValidationError) as fault:
        Settings(redis_url="http://:s3cret@queue", api_key=["s3cret"])
    assert "s3cret" not in str(fault.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().training.views = 2


def test_no_short_name_of_a_setting_is_a_groups_name() -> None:
    assert not set(setting_names()) & set(Settings.model_fields)


def test_the_table_holds_every_setting_once_and_shows_no_folder_of_this_machine() -> None:
    rows = settings_rows()
    assert len({row.variable for row in rows}) == len(rows) == len(set(setting_names().values()))
    assert all(row.text and not row.default.startswith("/") for row in rows)


def _edge_values(values: str) -> list[str]:
    """The values that a cell of the table names: every name, or both ends of a range."""
    lowest, is_range, highest = values.partition(" to ")
    return [lowest, highest] if is_range else re.findall(r"`([^`]+)`", values)


@pytest.mark.parametrize("row", [row for row in settings_rows() if row.values], ids=lambda row: row.variable)
def test_a_setting_takes_the_values_that_the_table_shows_and_no_other(row: Row) -> None:
    edges = _edge_values(row.values)
    assert len(edges) > 1
    for text in (*edges, *([row.default] if row.default else [])):
        Settings.from_env({row.variable: text})
    beyond = str(float(edges[-1]) + 1) if edges[-1].isdigit() else "another"
    with pytest.raises(SettingsError, match=row.variable):
        Settings.from_env({row.variable: beyond})


def test_nearly_every_setting_that_is_no_address_folder_or_secret_shows_its_values() -> None:
    assert sum(bool(row.values) for row in settings_rows()) > 40
