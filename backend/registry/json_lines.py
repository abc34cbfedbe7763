"""Files of one JSON value a line, which any number of processes append to; half a line harms no other."""

import fcntl
import json
import os
from pathlib import Path


def append_line(path: Path, value: object, *, is_synced: bool) -> None:
    """Append the value as a line of its own; what comes back from this survives a kill, and a power cut if `is_synced`.

    Raises:
        OSError: the disk is full, read-only or away, or the file's folder does not stand.
        ValueError: the value is no JSON, or holds a number that is not finite.
    """
    data = json.dumps(value, allow_nan=False).encode() + b"\n"
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        # A writer that was killed half-way must not spoil this line too.
        torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        file.write(b"\n" + data if torn else data)
        file.flush()
        if is_synced:
            os.fsync(file.fileno())
