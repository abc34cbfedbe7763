"""Child processes; that they die with their parent is shown in test_kill9.py."""

import signal
import subprocess
import sys
from pathlib import Path

from support.waiting import wait_until

from backend.files.children import end, own_command, start


def test_a_child_reads_nothing_and_writes_where_it_is_told(tmp_path: Path) -> None:
    code = "import os, sys; print(repr(sys.stdin.read()), os.getcwd(), os.environ['WHO'], os.getsid(0) == os.getpid())"
    with (tmp_path / "log").open("wb") as log:
        child = start([sys.executable, "-c", code], environ={"WHO": "me"}, folder=tmp_path, output=log)
        assert child.wait(60) == 0
    assert (tmp_path / "log").read_text() == f"'' {tmp_path} me True\n"


def test_what_a_child_complains_of_goes_to_its_output_too(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        assert start([sys.executable, "-c", "raise SystemExit('no')"], output=log).wait(60) == 1
    assert (tmp_path / "log").read_text() == "no\n"


def test_a_child_ends_when_asked_and_is_killed_when_it_does_not_listen(tmp_path: Path) -> None:
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); input()"
    quick = start([sys.executable, "-c", "import signal; signal.pause()"])
    assert end(quick, grace_s=60.0) == -signal.SIGTERM
    assert end(quick, grace_s=60.0) == -signal.SIGTERM, "harmless when repeated"
    with (tmp_path / "log").open("wb") as log:
        stubborn = start([sys.executable, "-c", deaf.replace("input()", "signal.pause()")], output=log)
    wait_until(lambda: (tmp_path / "log").read_text() == "deaf\n")
    assert end(stubborn, grace_s=0.1) == -signal.SIGKILL


def test_our_own_command_line_is_this_interpreters() -> None:
    done = subprocess.run(
        own_command("--help"), capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert "versions" in done.stdout, "the commands of samloop"
