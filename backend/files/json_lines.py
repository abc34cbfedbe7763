"""Files with one JSON value a line, to which any number of processes append. Half a line harms no whole line."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backend.files.durable import write_file
from backend.files.locks import lock_descriptor


def append_line(path: Path, value: object, *, is_synced: bool) -> None:
    """Append the value as a line. Once this returns, the line survives a kill, and a power cut if `is_synced`.

    Raises:
        OSError: the disk is full, read-only or not mounted, or the file's folder does not exist.
        ValueError: the value is not JSON, or holds a number that is not finite.
    """
    data = json.dumps(value, allow_nan=False).encode() + b"\n"
    with lock_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        # A writer that died half-way through its line must not spoil this line too.
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" + data if torn else data)
        file.flush()
        if is_synced:
            os.fsync(file.fileno())


@contextmanager
def lock_file(path: Path) -> Iterator[BinaryIO]:
    """Open the file to read and append while no other process writes. A missing file is made.

    Raises:
        OSError: as `append_line`.
    """
    while True:
        with path.open("a+b") as file:
            lock_descriptor(file.fileno())
            # The last holder may have replaced the file: nobody would ever read a line in the old one.
            if is_same(file, path):
                yield file
                return


def is_same(file: BinaryIO, path: Path) -> bool:
    """Return whether the open file is still the file at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace the file that the caller holds in `lock_file` by these lines, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written; the file stays as it was.
    """
    write_file(path, b"".join(lines))
