"""Which Label Studio a project's images and tasks come from, and whose key goes there."""

import logging
from pathlib import Path
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio

from backend.errors import ForbiddenUrl
from backend.images.connections import Connections
from backend.labelstudio.api.session import AddressPolicy
from backend.settings import Settings

OURS = {"label_studio_url": "http://ours.example:8080", "label_studio_api_key": "our-key"}
TOLD = {"hostname": "http://told.example", "access_token": "told-key"}


def known(tmp_path: Path, body: dict[str, Any] | None = None, **settings: Any) -> Connections:
    found = Connections(Settings(model_dir=tmp_path, **settings))
    if body is not None:
        found.remember_setup(1, body)
    return found


def header(found: Connections) -> tuple[str, str] | None:
    """Where the project's Label Studio is, and what is sent there."""
    studio = found.label_studio(1)
    return studio and (studio.url, studio._session.credentials.header())


def test_the_environment_goes_before_what_setup_tells(tmp_path: Path) -> None:
    assert header(known(tmp_path, TOLD, **OURS)) == ("http://ours.example:8080", "Token our-key")


def test_what_setup_tells_serves_where_the_environment_says_nothing(tmp_path: Path) -> None:
    assert header(known(tmp_path)) is None
    assert header(known(tmp_path, TOLD)) == ("http://told.example", "Token told-key")
    address = {"label_studio_url": OURS["label_studio_url"]}
    assert header(known(tmp_path, TOLD, **address)) == ("http://ours.example:8080", "Token told-key")


def test_our_key_goes_to_no_address_that_a_request_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever can send /setup could else read the key on a server of his."""
    with caplog.at_level(logging.WARNING):
        found = known(tmp_path, TOLD, label_studio_api_key="our-key")
    assert header(found) == ("http://told.example", "Token told-key")
    assert "LABEL_STUDIO_URL alone, which is not set" in caplog.text
    assert "our-key" not in caplog.text


def test_an_address_that_setup_names_must_pass_the_policy_of_images(tmp_path: Path) -> None:
    """Without LABEL_STUDIO_URL anybody's /setup could else make us call any host inside."""
    with FakeLabelStudio() as inside:
        body = {"hostname": inside.url, "access_token": inside.token}
        studio = known(tmp_path, body).label_studio(1)
        assert studio is not None
        with pytest.raises(ForbiddenUrl, match="set LABEL_STUDIO_URL"):
            studio.whoami()
        with pytest.raises(ForbiddenUrl, match="is not a public address"):
            studio.get_bytes("/data/upload/1/a.png", max_bytes=100, deadline_s=10.0)
        assert not inside.requests

        host = inside.url.removeprefix("http://")
        studio = known(tmp_path, body, image_hosts=(host,)).label_studio(1)
        assert studio is not None
        assert "@" in studio.whoami()


def test_a_name_that_resolves_elsewhere_by_the_time_of_the_call_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is checked, loopback when it is used."""
    monkeypatch.setattr(AddressPolicy, "address_of", lambda *_: "93.184.216.34")
    with FakeLabelStudio() as inside:
        studio = known(tmp_path, {"hostname": inside.url, "access_token": inside.token}).label_studio(1)
        assert studio is not None
        with pytest.raises(ForbiddenUrl, match="is not at a public address"):
            studio.whoami()
        assert not inside.requests


@pytest.mark.parametrize("hostname", ["http://[", "http://a:99999999", "ftp://a", "http://u:p@a", "x"])
def test_a_hostname_that_is_no_address_leaves_the_project_without_a_label_studio(tmp_path: Path, hostname: str) -> None:
    """It was a 500 for every request about the project."""
    found = known(tmp_path, {"hostname": hostname, "access_token": "k"})
    assert found.label_studio(1) is None
    assert found.images(1).name == "no Label Studio"


def test_what_setup_tells_takes_bounded_memory(tmp_path: Path) -> None:
    found = Connections(Settings(model_dir=tmp_path), most_setups=3)
    found.remember_setup(1, {**TOLD, "access_token": "x" * 100_000})
    assert header(found) is None
    for project_id in range(1, 6):
        found.remember_setup(project_id, TOLD)
    assert [project_id for project_id in range(1, 6) if found.label_studio(project_id)] == [3, 4, 5]
    found.remember_setup(5, {"hostname": "http://newer.example", "access_token": "k"})
    assert found.label_studio(3) is not None, "a project whose setup changes takes no other's place"
    assert getattr(found.label_studio(5), "url", None) == "http://newer.example"
