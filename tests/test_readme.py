"""README says what is so."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli.machine import settings_markdown

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"samloop ((?!-)[a-z]+)", README)) - {"is"})


def test_the_settings_table_is_the_one_that_the_program_prints() -> None:
    assert settings_markdown() in (ROOT / "docs" / "settings.md").read_text(), "write it anew: make docs"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_named_exists(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0, result.output


def test_every_option_that_is_shown_exists() -> None:
    lines = re.findall(r"samloop ([a-z]+ [^\n`#]*--[^\n`#]*)", README)
    assert lines
    for line in lines:
        command, *words = shlex.split(line)
        # Wide, or rich breaks an option's name over two lines.
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, f"{option} in: samloop {line}"


def test_every_picture_and_file_that_is_linked_exists() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("target", re.findall(r"`?make ([a-z-]+)", README))
def test_every_make_target_that_is_named_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
