"""Processes that share a machine's cores; that children die with their parent is shown in test_kill9.py."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import wait_until

from backend.files.children import end, own_command, start

TELL = """
import ctypes, os, sys
import {module}
assert "torch" not in sys.modules, "torch has read the environment already"
sys.argv = ["samloop", "--help"]
try:
    {module}.main()
except SystemExit:
    pass
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print("told", (getenv(b"GOMP_SPINCOUNT") or b"nothing").decode())
"""


@pytest.mark.parametrize(
    ("given", "told"), [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "nothing"), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_the_command_line_lets_waiting_threads_sleep_unless_the_user_says_otherwise(
    given: dict[str, str], told: str
) -> None:
    environ = {"PATH": "/usr/bin:/bin"} | given
    done = subprocess.run(
        # -I leaves out the user's own start-up files, not the installed project
        [sys.executable, "-I", "-c", TELL.format(module="backend.__main__")],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"told {told}"


FAULTS = """
import resource, numpy, os
from backend.files.children import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [numpy.full(24 << 20, 1, numpy.uint8) for _ in range(4)]
    del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone can be told so")
@pytest.mark.parametrize(("given", "keeps"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_freed_memory_is_used_again_without_asking_the_kernel_unless_the_user_says_otherwise(
    given: dict[str, str], keeps: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    # 96 MB are 24,576 pages, or 48 huge ones.
    assert (int(done.stdout) < 20) is keeps, done.stdout


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
