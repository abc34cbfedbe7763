"""One project's comparisons: an append-only file of lines, and the running figures over them.

The last line of an annotation counts. So an annotation is counted once however often it is submitted, what was seen and
not yet compared when a process died is found by the next process, and several processes may append and read at once.
Lines that no longer count are taken out now and then.
"""

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backend.files.json_lines import append_line, lock_file, replace_lines
from backend.live.figures import VersionFigures, VersionSums
from backend.live.lines import ComparedMask, Done, From, Gone, Kept, Line, Seen, parse_line, to_bytes

log = logging.getLogger(__name__)
_MOST_OUTDATED = 10_000  # lines that no longer count, at least, before they are taken out
_HEAD_BYTES = 64


class Ledger:
    """The file and its figures. Safe for any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        self._reset()

    def append(self, line: Line) -> None:
        """Add a line; what comes back from this is in the file, whoever is killed then.

        Raises:
            OSError: the disk is full, read-only or away, or the file's folder does not stand.
            ValueError: a number in it is not finite.
        """
        append_line(self._path, line.to_json(), is_synced=False)

    def figures(self) -> dict[str, VersionFigures]:
        """By version: means over the masks that people got from it."""
        with self._lock:
            self._read()
            return {name: sums.figures() for name, sums in self._versions.items() if sums.masks.n}

    def pending(self) -> dict[int, Seen]:
        """Annotations that are to be compared, by id."""
        with self._lock:
            self._read()
            return dict(self._pending)

    def is_counted(self, annotation_id: int) -> bool:
        """Whether a comparison of this annotation stands."""
        with self._lock:
            self._read()
            return annotation_id in self._done_at

    def compact(self, *, most_outdated: int = _MOST_OUTDATED) -> bool:
        """Take out the lines that no longer count, where they are the most; tells whether it did.

        Others may append and read meanwhile: writers wait, readers begin anew with the new file.

        Raises:
            OSError: as `append`; the file is as it was.
        """
        with self._lock:
            self._read()
            if not self._is_mostly_outdated(most_outdated):
                return False
            with lock_file(self._path) as file:
                self._take_new(file)
                if not self._is_mostly_outdated(most_outdated):
                    return False  # another process has just done it
                replace_lines(self._path, self._lines_that_count(file))
            return True

    def _is_mostly_outdated(self, most: int) -> bool:
        count = len(self._done_at) + len(self._pending)
        return self._lines - count > max(most, count)

    def _lines_that_count(self, file: BinaryIO) -> Iterator[bytes]:
        """In the order in which they were written: the moving mean is over the latest."""
        yield to_bytes(From(id=secrets.token_hex(16)))
        for start in sorted(self._done_at.values()):
            file.seek(start)
            yield file.readline()
        for seen in self._pending.values():
            yield to_bytes(seen)

    def _reset(self) -> None:
        self._offset, self._lines, self._head = 0, 0, b""
        self._pending: dict[int, Seen] = {}
        self._done_at: dict[int, int] = {}  # where in the file its line begins
        self._versions: dict[str, VersionSums] = {}

    def _read(self) -> None:
        """Take in what was appended since, by anybody."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._reset()
            return
        with file:
            self._take_new(file)

    def _take_new(self, file: BinaryIO) -> None:
        head = os.pread(file.fileno(), _HEAD_BYTES, 0)
        if os.fstat(file.fileno()).st_size < self._offset or not head.startswith(self._head):
            self._reset()  # another file stands there
        self._head = head
        file.seek(self._offset)
        while (data := file.readline()).endswith(b"\n"):
            start, self._offset = self._offset, self._offset + len(data)
            self._lines += 1
            self._take(_parse_line(data), at=start, file=file)
            file.seek(self._offset)

    def _take(self, line: Line | None, *, at: int, file: BinaryIO) -> None:
        match line:
            case Seen():
                self._pending[line.annotation_id] = line
            case Done():
                self._settle(line)
                self._forget(line.annotation_id, file)
                self._count(line, sign=1)
                self._done_at[line.annotation_id] = at
            case Kept():
                self._settle(line)
            case Gone():
                self._pending.pop(line.annotation_id, None)
                self._forget(line.annotation_id, file)

    def _settle(self, line: Done | Kept) -> None:
        """Unless it was changed while it was compared."""
        pending = self._pending.get(line.annotation_id)
        if pending is not None and pending.at <= line.at:
            del self._pending[line.annotation_id]

    def _forget(self, annotation_id: int, file: BinaryIO) -> None:
        start = self._done_at.pop(annotation_id, None)
        if start is not None:
            file.seek(start)
            line = _parse_line(file.readline())
            if isinstance(line, Done):
                self._count(line, sign=-1)

    def _count(self, line: Done, *, sign: int) -> None:
        by_version: dict[str, list[ComparedMask]] = {}
        for mask in line.masks:
            by_version.setdefault(mask.version, []).append(mask)
        for version, masks in by_version.items():
            sums = self._versions.setdefault(version, VersionSums())
            sums.count(line.annotation_id, masks, lead_s=line.lead_s, sign=sign)


def _parse_line(data: bytes) -> Line | None:
    """A torn line says nothing: what it should have said is still pending."""
    try:
        return parse_line(json.loads(data))
    except (ValueError, RecursionError):
        log.warning("a line of the live evaluation cannot be read: %s", data[:60], extra={"event": "live.torn"})
        return None
