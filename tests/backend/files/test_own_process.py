"""A process of samloop's shares the cores, keeps its memory, and is not slowed down by the smallest numbers."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

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
from backend.files.own_process import keep_freed_memory
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


DENORMALS = """
import threading, torch
from backend.files.own_process import prepare_process
prepare_process()
def halve():
    return (torch.full((4,), 1.2e-38) * torch.tensor(0.5)).tolist() + (torch.full((4,), 1e-39) * 1e30).tolist()
found = [halve()]
thread = threading.Thread(target=lambda: found.append(halve()))
thread.start()
thread.join()
print(found)
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="others compute these fast")
def test_denormal_numbers_are_zero_in_the_first_thread_and_in_those_that_it_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DENORMALS],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([[0.0] * 8] * 2)
