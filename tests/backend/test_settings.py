"""One frozen Settings, every fault told at once."""

from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.settings import Settings
from backend.work.jobs import connect


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


def test_the_largest_image_is_counted_in_pixels() -> None:
    assert Settings.from_env({"SAMLOOP_IMAGE_MEGAPIXELS": "12"}).image_pixels == 12_000_000


def test_a_registry_behind_a_url_is_refused_with_the_next_step() -> None:
    with pytest.raises(SettingsError, match="name a path"):
        Settings.from_env({"MODEL_DIR": "s3://bucket/models"})


def test_a_home_that_there_is_not_is_told_as_every_other_fault() -> None:
    with pytest.raises(SettingsError, match="MODEL_DIR='~nobody-here/x' names the home of a user who has none here"):
        Settings.from_env({"MODEL_DIR": "~nobody-here/x"})


@pytest.mark.parametrize("url", ["http://studio:99999", "http://studio:0", "http://[::1", "ftp://studio"])
def test_an_address_that_nothing_can_listen_on_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL="):
        Settings.from_env({"LABEL_STUDIO_URL": url})


def test_a_folder_may_be_named_by_its_url() -> None:
    assert Settings.from_env({"MODEL_DIR": "file:///srv/models"}).model_dir == Path("/srv/models")
    with pytest.raises(SettingsError, match="file:///folder"):
        Settings.from_env({"MODEL_DIR": "file://elsewhere/models"})


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"LABEL_STUDIO_URL=\*\*\* carries a user name or password") as told:
        Settings.from_env({"LABEL_STUDIO_URL": "http://me:s3cret@studio:8080"})
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["redis://:s3cret/word@queue:6379", "redis://queue:s3cret", "http://queue", "redis://q:0"]
)
def test_an_address_of_the_queue_that_cannot_be_one_is_told_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_URL=\*\*\* is not a redis://") as told:
        Settings.from_env({"REDIS_URL": url})
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("option", ["socket_timeout=soon", "nonsense=1"])
def test_an_option_that_the_queues_address_cannot_have_is_told(option: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL has an option that cannot be used"):
        connect(f"redis://queue:6379/0?{option}")
