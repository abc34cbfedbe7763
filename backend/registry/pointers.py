"""A project's pointers: its versions and their digests, and its decisions.

refs/<project>/versions/000000007.json   the digest of version 7
refs/<project>/champion/000000043.json   decision 43: the version that is served
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.errors import BadCheckpoint, NotFound
from backend.ids import find_project_id, parse_project_id
from backend.registry import refs
from backend.registry.disk import Disk
from backend.registry.protocol import Pointer

Kind = Literal["versions", "champion"]
_NOUNS: dict[Kind, str] = {"versions": "version", "champion": "decision"}
_OBJECT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Published:
    """A version's name, and the SHA-256 of its manifest."""

    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Pointers:
    """The folder `refs` on this disk.

    Every method raises:
        BadInput: the id is not a project's.
        Unavailable: the disk cannot be read.
    """

    disk: Disk

    def folder(self, project_id: int, kind: Kind) -> Path:
        """The folder of the files of this kind, which may not exist."""
        return self.disk.root / "refs" / str(parse_project_id(project_id)) / kind

    def projects(self) -> tuple[int, ...]:
        """List the projects that have a folder, ascending."""
        with self.disk.reading():
            folder = self.disk.root / "refs"
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        project_ids = (find_project_id(name) for name in names)
        return tuple(sorted(project_id for project_id in project_ids if project_id is not None))

    def numbers(self, project_id: int, kind: Kind) -> tuple[int, ...]:
        """List the numbers taken, ascending."""
        with self.disk.reading():
            return refs.list_numbers(self.folder(project_id, kind))

    def version(self, project_id: int, number: int) -> Published:
        """Read the pointer of version `number`.

        Raises:
            NotFound: there is no such version.
            BadCheckpoint: the file is malformed.
        """
        match self._content(project_id, "versions", number):
            case {"version": str(version), "object": str(sha256)} if _OBJECT.fullmatch(sha256):
                return Published(version=version, sha256=sha256)
            case _:
                raise self._foreign(project_id, "versions", number)

    def decision(self, project_id: int, number: int) -> Pointer:
        """Read decision `number`.

        Raises:
            NotFound: there is no such decision.
            BadCheckpoint: the file is malformed.
        """
        match self._content(project_id, "champion", number):
            case {"version": str() | None as version, "reason": str(reason), "at": str(at)}:
                return Pointer(number=number, version=version, reason=reason, at=at)
            case _:
                raise self._foreign(project_id, "champion", number)

    def _content(self, project_id: int, kind: Kind, number: int) -> dict[str, object]:
        folder = self.folder(project_id, kind)
        with self.disk.reading():
            try:
                return refs.read_ref(folder, number)
            except FileNotFoundError as fault:
                raise NotFound(f"project {project_id} has no {_NOUNS[kind]} {number}") from fault

    def _foreign(self, project_id: int, kind: Kind, number: int) -> BadCheckpoint:
        return BadCheckpoint(f"{self.folder(project_id, kind)}: file {number} is not a pointer of samloop's")
