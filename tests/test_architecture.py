"""The house keeps to its drawing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.sources import CONTAINERS, ROOT, list_modules, list_rooms, list_sources, name_in_house

SOURCES = list_sources(*CONTAINERS)
MOST_MODULES = 14

# Rooms that still hold more. This list may only become shorter.
CROWDED: set[str] = set()


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_nothing_but_the_agreed_names_stands_at_the_top_level() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    allowed = {
        "pyproject.toml",
        "README.md",
        "backend",
        "finetuner",
        "tests",
        "docker",
        "docs",
        "Makefile",
        "CHANGELOG.md",
        "LICENSE",
    }
    assert {name for name in top if not name.startswith(".")} <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=name_in_house)
def test_a_file_holds_one_noun(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "util", "helpers", "common", "core", "misc"}
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|# *type: *ignore(?!\[)", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [
                line for line in node.body if not isinstance(line, ast.Expr) or not isinstance(line.value, ast.Constant)
            ]
            assert not body or (body[-1].end_lineno or 0) - body[0].lineno < 50, f"{node.name} is too long"


def test_a_file_of_the_tests_is_no_longer_than_a_source() -> None:
    lengths = {name_in_house(path): path.read_text().count("\n") for path in list_sources("tests")}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


@pytest.mark.parametrize(("container", "most"), [("backend", 8), ("finetuner", 14)])
def test_few_modules_lie_loose_at_a_root(container: str, most: int) -> None:
    assert len(list_modules(ROOT / container)) <= most


@pytest.mark.parametrize("room", list_rooms(), ids=name_in_house)
def test_a_room_holds_few_enough_modules_to_be_read_at_a_glance(room: Path) -> None:
    """The command line alone may hold more: one module a family of commands."""
    if name_in_house(room) == "backend/cli":
        return
    is_crowded = len(list_modules(room)) > MOST_MODULES
    assert is_crowded == (name_in_house(room) in CROWDED), sorted(list_modules(room))


def test_the_formatter_lays_out_every_line_but_a_few_tables() -> None:
    pattern = re.compile(r"#\s*fmt:\s*(?:skip|off)\b")
    skips = {
        name_in_house(path): count
        for path in list_sources(*CONTAINERS, "tests")
        if (count := len(pattern.findall(path.read_text())))
    }
    assert sum(skips.values()) < 20, skips


@pytest.mark.parametrize("module", ["backend.masks.prompt", "backend.registry.local", "backend.labelstudio.api.client"])
def test_the_library_below_sam_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["backend.__main__", "finetuner.worker"])
def test_the_command_line_and_the_worker_start_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
