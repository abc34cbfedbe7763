"""`samloop demo`: the whole loop on a real Label Studio with real weights, as a user starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.label_studio import PASSWORD, TOKEN, Tables
from support.waiting import wait_until

pytestmark = [pytest.mark.label_studio, pytest.mark.weights]
DEMO = [sys.executable, "-P", "-m", "backend", "demo", "--port", "0", "--label-studio-port", "0"]


def _left_running(folder: Path) -> list[str]:
    """Command lines of processes whose environment names the folder, as everything that the demo starts does."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and bytes(folder) in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.timeout(1900)
def test_once_swaps_a_better_checkpoint_in_and_leaves_nothing_running(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*DEMO, "--once", "--dir", str(tmp_path)],
        # Half the demo's epochs, by which it is promoted in both arithmetics. How much it gains depends on them. Tiles
        # have tests of their own: here they would cost ten times as many images to encode.
        env=os.environ | {"SAMLOOP_TRAIN_SECONDS": "1600", "SAMLOOP_EPOCHS": "6", "SAMLOOP_TILES": "off"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    told = json.loads(ended.stdout.splitlines()[-1])
    assert set(told) == {"project", "base_version", "version", "promoted", "evaluation", "seconds"}
    assert told["promoted"] is True
    assert told["base_version"] == "mobile-sam"
    assert told["version"].startswith(f"mobile-sam-p{told['project']}-v1-")
    evaluation = told["evaluation"]
    assert evaluation["images"] == 4  # those that the hash of what they show holds out
    for metric in ("iou", "boundary_iou"):
        assert evaluation["difference"]["point"][metric][0] > 0
        assert evaluation["candidate"]["point"][metric] > evaluation["base"]["point"][metric]
    assert 0 <= told["seconds"]["swap"] < 10
    assert 0 < told["seconds"]["train"] < told["seconds"]["total"]
    assert "a mask of mobile-sam," in ended.stderr
    assert f"a mask of {told['version']}," in ended.stderr
    assert _left_running(tmp_path) == []


def test_a_clickable_demo_tells_what_to_do_and_ctrl_c_stops_everything(
    tmp_path: Path, label_studio_tables: Tables
) -> None:
    label_studio_tables.copy_to(tmp_path / "label-studio")  # --once starts in an empty folder
    (tmp_path / "login.json").write_text(json.dumps({"password": PASSWORD, "token": TOKEN}))
    with (tmp_path / "told").open("w+") as told:
        demo = subprocess.Popen(
            [*DEMO, "--dir", str(tmp_path)],
            stderr=told,
            start_new_session=True,
            # A shell starts what runs in its background with Ctrl-C ignored, and so would these tests' children be.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no other thread runs
        )
        try:
            guide = _wait_for("Ctrl-C stops everything.", tmp_path / "told", demo=demo)
            assert "/projects/1/data" in guide
            assert "Log in  demo@example.com" in guide
            assert "24 images uploaded, 18 annotated" in guide
            demo.send_signal(signal.SIGINT)
            assert demo.wait(timeout=300) == 0
        finally:
            if demo.poll() is None:
                demo.kill()
                demo.wait()
    assert f"samloop demo --dir {tmp_path}" in (tmp_path / "told").read_text()
    assert _left_running(tmp_path) == []


def test_killed_outright_it_takes_its_processes_along(tmp_path: Path) -> None:
    with (tmp_path / "told").open("w+") as told:
        demo = subprocess.Popen([*DEMO, "--once", "--dir", str(tmp_path)], stderr=told, start_new_session=True)
        try:
            _wait_for("starting Label Studio", tmp_path / "told", demo=demo)
            wait_until(
                lambda: len(_left_running(tmp_path)) >= 2, every_s=0.2, explain=lambda: "the demo started nothing"
            )
        finally:
            demo.kill()
            demo.wait()
    wait_until(lambda: not _left_running(tmp_path), every_s=0.2, explain=lambda: _left_running(tmp_path))


def test_a_taken_port_ends_it_with_one_sentence_that_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "backend", "demo", "--once", "--dir", str(tmp_path), "--port", port],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"samloop: port {port} is taken: name another port with --port; --port 0 takes any free port"
    )
    assert ended.stdout == ""
    assert _left_running(tmp_path) == []


def _wait_for(sentence: str, path: Path, *, demo: subprocess.Popen[bytes]) -> str:
    def told() -> str | None:
        text = path.read_text()
        assert demo.poll() is None or sentence in text, f"the demo ended without {sentence!r}: {text}"
        return text if sentence in text else None

    return wait_until(
        told, seconds=300, every_s=0.2, explain=lambda: f"the demo did not say {sentence!r}: {path.read_text()}"
    )
