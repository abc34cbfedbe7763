"""The map in a folder's `__init__` names what the folder holds, all of it and nothing else."""

import ast
import re
from pathlib import Path

import pytest
from support.sources import list_inner_rooms, list_modules, list_rooms, name_in_house

_ENTRY = re.compile(r"^ {4}(?P<name>\w+) {2,}\S", re.MULTILINE)

# Rooms whose `__init__` has no map yet. This list may only become shorter.
UNMAPPED: set[str] = {
    "backend/charts",
    "backend/cli",
    "backend/cli/demo",
    "backend/files",
    "backend/http",
    "backend/images",
    "backend/labelstudio",
    "backend/labelstudio/api",
    "backend/labelstudio/controls",
    "backend/labelstudio/controls/shapes",
    "backend/labelstudio/prompts",
    "backend/live",
    "backend/masks",
    "backend/net",
    "backend/refresh",
    "backend/registry",
    "backend/review",
    "backend/sam",
    "backend/sam/adapters",
    "backend/sam/embeddings",
    "backend/sam/export",
    "backend/sam/families",
    "backend/sam/layers",
    "backend/sam/loading",
    "backend/sam/semantic",
    "backend/server",
    "backend/server/label_studio_ml",
    "backend/serving",
    "backend/settings",
    "backend/work",
    "finetuner/data",
    "finetuner/deciding",
    "finetuner/measuring",
    "finetuner/methods",
    "finetuner/report",
    "finetuner/semantic",
    "finetuner/training",
}


def read_map(room: Path) -> set[str]:
    """The names that the docstring of the room's `__init__` begins lines with, four columns in."""
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()), clean=False) or ""
    return {entry["name"] for entry in _ENTRY.finditer(text)}


@pytest.mark.parametrize(
    "room", [room for room in list_rooms() if name_in_house(room) not in UNMAPPED], ids=name_in_house
)
def test_the_map_names_every_module_and_every_inner_room(room: Path) -> None:
    assert read_map(room) == list_modules(room) | list_inner_rooms(room)


@pytest.mark.parametrize("name", sorted(UNMAPPED))
def test_a_room_without_a_map_still_has_none(name: str) -> None:
    """Once it has one, its name leaves UNMAPPED."""
    (room,) = [room for room in list_rooms() if name_in_house(room) == name]
    assert read_map(room) != list_modules(room) | list_inner_rooms(room)
