"""Label Studio as a child process: what it is told, and how it fails."""

import os
import socket
import time
from pathlib import Path

import pytest
import requests

from backend.cli.demo.label_studio import LabelStudioProcess, free_port
from backend.errors import Unavailable


def _executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_missing_executable_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no Label Studio at .*nowhere: run `make label-studio`"):
        LabelStudioProcess(tmp_path / "nowhere", data_dir=tmp_path).start()


def test_a_taken_port_is_refused_because_label_studio_would_take_another_by_itself(tmp_path: Path) -> None:
    program = _executable(tmp_path / "label-studio", "exec sleep 60")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = LabelStudioProcess(program, data_dir=tmp_path, port=port)
        with pytest.raises(Unavailable, match=f"port {port} is taken: name another with --label-studio-port"):
            process.start()
    assert process.poll() == -1


def test_one_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = _executable(tmp_path / "label-studio", "echo the database is locked; exit 3")
    with pytest.raises(Unavailable, match=r"(?s)ended with status 3 while starting.*the database is locked"):
        LabelStudioProcess(program, data_dir=tmp_path / "data").start()


def test_one_that_never_answers_is_stopped_after_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.cli.demo.label_studio.START_S", 0.5)
    program = _executable(tmp_path / "label-studio", f"echo $$ > {tmp_path / 'pid'}; exec sleep 60")
    with pytest.raises(Unavailable, match=r"did not answer on http://127\.0\.0\.1:\d+ within 0 s: run this again when"):
        LabelStudioProcess(program, data_dir=tmp_path / "data").start()
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_of_our_own_environment_reaches_it_but_paths_and_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio reads names as common as HOST, PORT, DEBUG and USERNAME."""
    for name in ("HOST", "PORT", "DEBUG", "USERNAME", "HEARTEX_HOST", "LABEL_STUDIO_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "ours")
    process = LabelStudioProcess(tmp_path / "x", data_dir=tmp_path, port=free_port(), environ={"ML_TIMEOUT_SETUP": "9"})
    environment = process.environment()
    assert "ours" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["LABEL_STUDIO_HOST"] == process.url == f"http://127.0.0.1:{process.port}"
    assert environment["LABEL_STUDIO_BASE_DATA_DIR"] == str(tmp_path)
    assert environment["ML_TIMEOUT_SETUP"] == "9"


def test_stopping_one_that_never_started_does_nothing(tmp_path: Path) -> None:
    LabelStudioProcess(tmp_path / "x", data_dir=tmp_path).stop()


@pytest.mark.label_studio
def test_a_real_one_takes_both_kinds_of_token_and_keeps_what_it_holds_over_a_restart(
    label_studio: LabelStudioProcess, tmp_path: Path
) -> None:
    legacy = {"Authorization": f"Token {label_studio.token}"}
    assert requests.get(f"{label_studio.url}/api/projects", headers=legacy, timeout=60).ok
    refresh = {"refresh": label_studio.personal_access_token()}
    assert refresh["refresh"] == label_studio.personal_access_token()  # there is only one to be had
    access = requests.post(f"{label_studio.url}/api/token/refresh/", json=refresh, timeout=60).json()["access"]
    bearer = {"Authorization": f"Bearer {access}"}
    me = requests.get(f"{label_studio.url}/api/current-user/whoami", headers=bearer, timeout=60).json()
    assert me["email"] == label_studio.user


def test_a_program_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.cli.demo.label_studio.STOP_S", 0.3)
    monkeypatch.setattr("backend.cli.demo.label_studio.START_S", 0.5)
    program = _executable(tmp_path / "label-studio", "trap '' TERM; while true; do sleep 0.1; done")
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer"):
        LabelStudioProcess(program, data_dir=tmp_path / "data").start()
    assert time.monotonic() - began < 10
