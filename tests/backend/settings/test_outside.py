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


@pytest.mark.parametrize("url", ["s3://bucket/models", "gs://bucket", "az://container/a/b", "memory://tests"])
def test_a_registry_may_be_in_an_object_store(url: str) -> None:
    assert Settings.from_env({"MODEL_DIR": f"{url}/"}).registry.model_dir == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://bucket.example/models", "is in no store known here: write a path, or an address with s3://"),
        ("s3://", "names no bucket"),
        ("s3://bucket/../other", "names no bucket, or no plain prefix"),
        ("s3://k3y:c4n4ry@bucket/models", "carries credentials"),
        ("s3://bucket/models?secret=c4n4ry", "carries credentials"),
    ],
)
def test_an_address_that_is_no_stores_is_refused_without_its_secret(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as fault:
        Settings.from_env({"MODEL_DIR": url})
    assert "c4n4ry" not in str(fault.value)


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
