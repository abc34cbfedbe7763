"""A project's pointers: its versions and their digests, and its decisions.

refs/<project>/versions/000000007.json   the digest of version 7
refs/<project>/champion/000000043.json   decision 43: the version that is served
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from backend.errors import BadCheckpoint, NotFound
from backend.ids import find_project_id, parse_project_id
from backend.registry.protocol import Pointer
from backend.registry.refs import Refs

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
    """The numbered files of all projects.

    Every method raises:
        BadInput: the id is not a project's.
        Unavailable: the files cannot be read or, in `take`, written.
    """

    refs: Refs

    def projects(self) -> tuple[int, ...]:
        """List the projects that have a folder, ascending."""
        project_ids = (find_project_id(name) for name in self.refs.list_projects())
        return tuple(sorted(project_id for project_id in project_ids if project_id is not None))

    def numbers(self, project_id: int, kind: Kind) -> tuple[int, ...]:
        """List the numbers taken, ascending."""
        return self.refs.list_numbers(_name_place(project_id, kind))

    def find_highest(self, project_id: int, kind: Kind) -> int:
        """Return the latest number, 0 for none."""
        return max(self.numbers(project_id, kind), default=0)

    def take(self, project_id: int, kind: Kind, number: int, *, content: Mapping[str, str | None]) -> bool:
        """Take the number for this content; return False where it is already taken."""
        return self.refs.take(_name_place(project_id, kind), number, content)

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
                raise _refuse(project_id, "versions", number)

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
                raise _refuse(project_id, "champion", number)

    def _content(self, project_id: int, kind: Kind, number: int) -> dict[str, object]:
        content = self.refs.read(_name_place(project_id, kind), number)
        if content is None:
            raise NotFound(f"project {project_id} has no {_NOUNS[kind]} {number}")
        return content


def _name_place(project_id: int, kind: Kind) -> str:
    return f"{parse_project_id(project_id)}/{kind}"


def _refuse(project_id: int, kind: Kind, number: int) -> BadCheckpoint:
    return BadCheckpoint(f"refs/{_name_place(project_id, kind)}: file {number} is not a pointer of samloop's")
