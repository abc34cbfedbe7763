"""Finds programs that a test needs; without one, the test is skipped with the way to get it, and fails in CI."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def need_program(name: str, *, package: str) -> str:
    """Return the path of a program, from this environment or PATH; skip the test where it is missing, or fail it in CI.

    Args:
        name: of the program.
        package: what brings it, such as "Debian's caddy".
    """
    beside = Path(sys.executable).parent / name
    if found := shutil.which(name, path=f"{beside.parent}{os.pathsep}{os.environ['PATH']}"):
        return found
    reason = f"no {name} on PATH: install {package}"
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this: {reason}", pytrace=False)
    pytest.skip(reason)
