"""Processes that share a machine's cores; that children die with their parent is shown in test_kill9.py."""

import subprocess
import sys

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
