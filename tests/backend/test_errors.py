"""The tree of errors is as its module draws it, and it stands in one file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from backend import errors
from backend.errors import SamloopError

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^(?P<indent>[| ]*)(?:\+- )?(?P<name>[A-Z]\w+) +(?P<status>\d{3})(?:  \S|$)", re.MULTILINE)


def drawn_errors() -> dict[str, tuple[str | None, int]]:
    """Name -> parent and HTTP status, as the module's docstring draws them."""
    above: list[str] = []
    drawn: dict[str, tuple[str | None, int]] = {}
    for line in _LINE.finditer(errors.__doc__ or ""):
        # The root stands at the margin; a child's bar begins three columns further in than its parent's.
        depth = 0 if "+-" not in line[0] else 1 + len(line["indent"]) // 3
        del above[depth:]
        drawn[line["name"]] = above[-1] if above else None, int(line["status"])
        above.append(line["name"])
    return drawn


def walk(error: type[SamloopError]) -> Iterator[type[SamloopError]]:
    yield error
    for child in error.__subclasses__():
        yield from walk(child)


def test_the_drawing_shows_every_error_with_its_parent_and_its_status() -> None:
    real = {
        error.__name__: (None if error is SamloopError else error.__base__.__name__, error.status)
        for error in walk(SamloopError)
        if error.__module__.split(".")[0] in {"backend", "finetuner"}
    }
    assert drawn_errors() == real


def test_no_error_of_the_tree_is_defined_elsewhere() -> None:
    ours = {error.__name__ for error in walk(SamloopError)}
    elsewhere = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in ("backend", "finetuner")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ROOT / "backend" / "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        if any(isinstance(base, ast.Name) and base.id in ours for base in node.bases)
    ]
    assert elsewhere == []


def test_every_error_says_what_it_means() -> None:
    assert [error.__name__ for error in walk(SamloopError) if not (error.__doc__ or "").strip()] == []
