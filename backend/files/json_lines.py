"""Files of one JSON value a line, which any number of processes append to; half a line harms no other."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backend.files.durable import write_file
from backend.files.locks import lock_descriptor


def append_line(path: Path, value: object, *, is_synced: bool) -> None:
    """Append the value as a line of its own; what comes back from this survives a kill, and a power cut if `is_synced`.

    Raises:
        OSError: the disk is full, read-only or away, or the file's folder does not stand.
        ValueError: the value is no JSON, or holds a number that is not finite.
    """
    data = json.dumps(value, allow_nan=False).encode() + b"\n"
    with locked(path) as file:
        size = file.seek(0, os.SEEK_END)
        # A writer that was killed half-way must not spoil this line too.
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" + data if torn else data)
        file.flush()
        if is_synced:
            os.fsync(file.fileno())


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """The file, to read and to append to, while nobody else writes; made where it is missing.

    Raises:
        OSError: as `append_line`.
    """
    while True:
        with path.open("a+b") as file:
            lock_descriptor(file.fileno())
            # Whoever held the lock may have put another file there: a line in this one would be seen by nobody.
            if is_same(file, path):
                yield file
                return


def is_same(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is the one that stands at `path` now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Put a file of these lines in the place of the one that the caller has `locked`, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; the file is as it was.
    """
    write_file(path, b"".join(lines))
