"""Addresses, credentials, the registry and the queue."""

from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.settings import Settings
from backend.work.connection import connect


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e9"])
def test_numbers_are_bounded(text: str) -> None:
    with pytest.raises(SettingsError, match="SAMLOOP_POLL_SECONDS"):
        Settings.from_env({"SAMLOOP_POLL_SECONDS": text})


def test_a_registry_behind_a_url_is_refused_with_the_next_step() -> None:
    with pytest.raises(SettingsError, match="name a path"):
        Settings.from_env({"MODEL_DIR": "s3://bucket/models"})


def test_a_registry_may_be_named_by_its_url() -> None:
    assert Settings.from_env({"MODEL_DIR": "file:///srv/models"}).registry.model_dir == Path("/srv/models")


@pytest.mark.parametrize(("user", "password"), [("u", ""), ("", "p")])
def test_user_and_password_go_together(user: str, password: str) -> None:
    with pytest.raises(SettingsError, match="set both or neither"):
        Settings.from_env({"BASIC_AUTH_USER": user, "BASIC_AUTH_PASS": password})


@pytest.mark.parametrize(
    "url", ["redis://:s3cret/word@queue:6379", "redis://queue:s3cret", "http://queue", "redis://q:0"]
)
def test_an_address_of_the_queue_that_cannot_be_one_is_told_without_its_secret(url: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_URL=\*\*\* is not a redis://") as fault:
        Settings.from_env({"REDIS_URL": url})
    assert "s3cret" not in str(fault.value)


@pytest.mark.parametrize("option", ["socket_timeout=soon", "nonsense=1"])
def test_an_option_that_the_queues_address_cannot_have_is_told(option: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL has an option that cannot be used"):
        connect(f"redis://queue:6379/0?{option}")
