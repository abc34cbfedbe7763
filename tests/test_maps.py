"""The map in a folder's `__init__` names what the folder holds, all of it and nothing else."""

import ast
import re
from pathlib import Path

import pytest
from support.sources import list_inner_rooms, list_modules, list_rooms, name_in_house

_ENTRY = re.compile(r"^ *(?P<name>\w+) {2,}\S", re.MULTILINE)


def read_map(room: Path) -> set[str]:
    """The names that the docstring of the room's `__init__` begins lines with, two spaces after them."""
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()), clean=False) or ""
    return {entry["name"] for entry in _ENTRY.finditer(text)}


@pytest.mark.parametrize("room", list_rooms(), ids=name_in_house)
def test_the_map_names_every_module_and_every_inner_room(room: Path) -> None:
    assert read_map(room) == list_modules(room) | list_inner_rooms(room)
