"""One frozen Settings, every fault told at once."""

from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.settings import Settings


def test_an_empty_environment_gives_usable_defaults() -> None:
    settings = Settings.from_env({})
    assert settings.model_dir.is_absolute()
    assert settings.redis_url is None
    assert settings.device == "auto"


def test_an_empty_variable_counts_as_absent_as_compose_files_write_them() -> None:
    assert Settings.from_env({"LABEL_STUDIO_API_KEY": "", "SAMLOOP_CACHE_MIB": ""}) == Settings.from_env({})


def test_every_fault_is_told_at_once_with_the_value_met() -> None:
    with pytest.raises(SettingsError) as told:
        Settings.from_env({"LABEL_STUDIO_URL": "studio", "SAMLOOP_CACHE_MIB": "lots", "SAMLOOP_DEVICE": "tpu"})
    for part in ("LABEL_STUDIO_URL='studio'", "SAMLOOP_CACHE_MIB='lots'", "SAMLOOP_DEVICE='tpu'", "auto, cpu"):
        assert part in str(told.value)


def test_secrets_show_neither_in_the_repr_nor_in_a_fault() -> None:
    environ = {"LABEL_STUDIO_API_KEY": "s3cret", "REDIS_URL": "redis://:s3cret@host", "BASIC_AUTH_USER": "u"}
    with pytest.raises(SettingsError, match="go together") as told:
        Settings.from_env(environ | {"REDIS_URL": "http://:s3cret@host"})
    assert "s3cret" not in str(told.value)
    assert "s3cret" not in repr(Settings.from_env(environ | {"BASIC_AUTH_PASS": "s3cret"}))


def test_folders_may_start_with_a_tilde_and_become_absolute() -> None:
    settings = Settings.from_env({"MODEL_DIR": "~/m", "SAMLOOP_LOCAL_FILES_ROOT": "/a:/b"})
    assert settings.model_dir == Path.home() / "m"
    assert settings.local_files_root == (Path("/a"), Path("/b"))


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e9"])
def test_numbers_are_bounded(text: str) -> None:
    with pytest.raises(SettingsError, match="SAMLOOP_POLL_SECONDS"):
        Settings.from_env({"SAMLOOP_POLL_SECONDS": text})


def test_a_registry_behind_a_url_is_refused_with_the_next_step() -> None:
    with pytest.raises(SettingsError, match="name a path"):
        Settings.from_env({"MODEL_DIR": "s3://bucket/models"})
