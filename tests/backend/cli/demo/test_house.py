"""What the demo runs keeps its login, finds its programs, and never takes another's port."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from fakes.raw_server import raw_server

from backend.cli.demo import house
from backend.errors import Unavailable
from backend.registry.opening import open_registry
from backend.registry.protocol import Registry
from backend.settings import Settings


def test_a_folders_login_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """A Label Studio keeps the password and the token that it was made with."""
    path = tmp_path / "login.json"
    login = house._login(path)
    assert house._login(path) == login
    assert path.stat().st_mode & 0o077 == 0
    assert set(json.loads(path.read_text())) == {"password", "token"}
    assert house._login(tmp_path / "another.json") != login


def test_label_studio_is_looked_for_in_the_checkout_and_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable, match="run `make label-studio` in a checkout of samloop"):
        house.find_label_studio(tmp_path / "checkout")
    for root in (tmp_path, tmp_path / "checkout"):
        executable = root / ".venv-label-studio" / "bin" / "label-studio"
        executable.parent.mkdir(parents=True)
        executable.touch()
        assert house.find_label_studio(tmp_path / "checkout") == executable


def test_a_port_that_is_taken_is_told_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="is taken: name another port with --port; --port 0 takes any free port"):
            house._check_free(taken.getsockname()[1])


def test_the_end_of_a_log_is_short_and_survives_bytes_that_are_no_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\xff first\n" + b"".join(b"line %d\n" % number for number in range(20)))
    assert house._tail(log).splitlines()[0] == "line 5"
    assert house._tail(log).endswith("line 19")


def test_a_folder_of_the_demo_that_somebody_deleted_may_be_the_next_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine nothing else remembers that there was a registry, and so misses it."""
    monkeypatch.setattr(house, "find_label_studio", lambda: tmp_path / "label-studio")

    def enter() -> Registry:
        demo = house.House(Settings(), directory=tmp_path / "demo", port=0, label_studio_port=0)
        for name, value in demo._environment().items():
            monkeypatch.setenv(name, value)
        return open_registry(Settings.from_env())

    enter().promote(1, None, reason="the first decision leaves the registry's mark")
    shutil.rmtree(tmp_path / "demo")
    assert enter().champion(1) is None


def test_what_the_backend_says_about_a_fault_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said 503 and nothing else, whatever was wrong."""
    monkeypatch.setattr(house, "find_label_studio", lambda: tmp_path / "label-studio")
    said = b'{"detail":"the registry is not the one that it was"}'
    reply = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)
    demo = house.House(Settings(), directory=tmp_path / "demo", port=0, label_studio_port=0)
    with raw_server(lambda connection: connection.sendall(reply)) as url:
        demo.url = url.removesuffix("/a.png")
        with pytest.raises(
            Unavailable, match=r"answered 503 on .*/health: .*the registry is not the one.*samloop\.log"
        ):
            demo._request("/health")
