"""Numbered files in a folder, from 000000001.json on: complete from the first moment, and never overwritten."""

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from backend.errors import BadCheckpoint
from backend.files.durable import make_folder, sync_folder, write_new

_NUMBERED = re.compile(r"([0-9]{9})\.json")


def list_numbers(folder: Path) -> tuple[int, ...]:
    """List the numbers taken, ascending. Other file names do not count, and a missing folder is an empty one."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are wanted, not paths
    except FileNotFoundError:
        return ()
    return tuple(sorted(int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))))


def find_highest(folder: Path) -> int:
    """Return the latest number, 0 for none."""
    return max(list_numbers(folder), default=0)


def take_number(folder: Path, number: int, content: Mapping[str, str | None], *, staging: Path) -> bool:
    """Take the number for this content; return False where it is already taken.

    A finished file gets its name by a hard link, which fails where the name exists. So a reader sees the whole file or
    none, and of two writers one wins. `staging` is a folder on the same disk.

    Raises:
        OSError: the disk is full, read-only, or has no hard links.
    """
    make_folder(staging)
    temporary = staging / f"{secrets.token_hex(16)}.json"
    try:
        write_new(temporary, json.dumps(content).encode())
        os.link(temporary, folder / _name_file(number))
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return True


def read_ref(folder: Path, number: int) -> dict[str, object]:
    """Read the content under this number.

    Raises:
        FileNotFoundError: the number is not taken.
        BadCheckpoint: the file is not a JSON object.
    """
    path = folder / _name_file(number)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as fault:
        raise BadCheckpoint(f"{path} is not JSON: {fault}") from fault
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path} is not a pointer of samloop's: it holds no JSON object")
    return content


def _name_file(number: int) -> str:
    return f"{number:09d}.json"
