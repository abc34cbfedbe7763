"""Numbered files are read with their types; a malformed file is refused, never guessed at."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadCheckpoint, BadInput, NotFound
from backend.registry.folder.disk import Disk
from backend.registry.folder.refs import FolderRefs
from backend.registry.pointers import Kind, Pointers, Published
from backend.registry.protocol import Pointer


@pytest.fixture
def pointers(tmp_path: Path) -> Pointers:
    return Pointers(FolderRefs(Disk(tmp_path), staging=tmp_path / "staging"))


def write(tmp_path: Path, kind: Kind, content: Any) -> None:
    folder = tmp_path / "refs" / "7" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "000000003.json").write_text(json.dumps(content))


def test_versions_and_decisions_are_read(pointers: Pointers, tmp_path: Path) -> None:
    write(tmp_path, "versions", {"version": "v", "object": "a" * 64})
    write(tmp_path, "champion", {"version": None, "reason": "worse", "at": "now"})
    assert pointers.version(7, 3) == Published(version="v", sha256="a" * 64)
    assert pointers.decision(7, 3) == Pointer(number=3, version=None, reason="worse", at="now")
    assert pointers.numbers(7, "versions") == (3,)
    assert pointers.projects() == (7,)


@pytest.mark.parametrize(
    "content", [{}, [], {"version": "v", "object": "../x"}, {"version": 1, "reason": "", "at": ""}]
)
def test_a_file_that_is_none_of_ours_is_refused(pointers: Pointers, tmp_path: Path, content: Any) -> None:
    write(tmp_path, "versions", content)
    write(tmp_path, "champion", content)
    for read in (pointers.version, pointers.decision):
        with pytest.raises(BadCheckpoint, match="is not a pointer of samloop's"):
            read(7, 3)


def test_what_is_not_there_is_told_from_what_cannot_be_asked(pointers: Pointers) -> None:
    with pytest.raises(NotFound, match="project 7 has no version 1"):
        pointers.version(7, 1)
    with pytest.raises(BadInput, match="not a project's number"):
        pointers.numbers(0, "champion")
