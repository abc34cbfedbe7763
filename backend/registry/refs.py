"""Numbered files, from 000000001.json on: complete from the first moment, and never overwritten."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from backend.errors import BadCheckpoint

_NUMBERED = re.compile(r"([0-9]{9})\.json")


@runtime_checkable
class Refs(Protocol):
    """The numbered files of a registry. `place` is a project's folder, such as `7/champion`.

    Every method raises:
        Unavailable: the files cannot be read or, in `take`, written.
    """

    def list_projects(self) -> tuple[str, ...]:
        """List the folders of projects by name. Other folders may be among them."""

    def list_numbers(self, place: str) -> tuple[int, ...]:
        """List the numbers taken, ascending. Other file names do not count, and a missing folder is an empty one."""

    def read(self, place: str, number: int) -> dict[str, object] | None:
        """Read the content under this number; None where the number is not taken.

        Raises:
            BadCheckpoint: the file is not a JSON object.
        """

    def take(self, place: str, number: int, content: Mapping[str, str | None]) -> bool:
        """Take the number for this content; return False where it is already taken.

        A reader sees the whole content or none, and of two writers one wins.
        """


def sort_numbers(names: Iterable[str]) -> tuple[int, ...]:
    """Return the numbers in the names of files, ascending. Other names do not count."""
    return tuple(sorted(int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))))


def name_file(number: int) -> str:
    """Return the name of a numbered file: `000000007.json`."""
    return f"{number:09d}.json"


def parse_content(data: bytes, *, where: str) -> dict[str, object]:
    """Parse the content of a numbered file; errors name `where`.

    Raises:
        BadCheckpoint: the bytes are not a JSON object.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise BadCheckpoint(f"{where} is not JSON: {fault}") from fault
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{where} is not a pointer of samloop's: it holds no JSON object")
    return content
