"""The Dockerfile follows the rules of Docker's own guide, as hadolint knows them."""

import subprocess
from pathlib import Path

from support.docker_rehearsal import instructions
from support.tools import need_program

DOCKERFILE = Path(__file__).resolve().parents[2] / "docker" / "Dockerfile"


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = need_program("hadolint", package="this project's extra `test`")
    said = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True, timeout=120)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_image_runs_as_a_number_that_is_not_root_and_says_whether_it_is_well() -> None:
    last = dict(instructions(DOCKERFILE.read_text()))
    assert int(last["USER"]) > 0
    assert "health.py" in last["HEALTHCHECK"]
