"""One project's comparisons: an append-only file of lines, and running figures over its lines.

An annotation's last line counts. So an annotation counts once, however often it is submitted; the next process sees
what a dead process left to compare; and several processes may append and read at once. `compact` takes out lines that
no longer count.
"""

import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backend.files.json_lines import lock_file, replace_lines
from backend.live.figures import VersionFigures, VersionSums
from backend.live.lines import ComparedMask, Done, From, Gone, Kept, Line, Seen, parse_line, to_bytes
from backend.registry.state import ONE_DISK, Sharing

log = logging.getLogger(__name__)
_MOST_OUTDATED = 10_000  # fewest outdated lines that are worth a compaction
_HEAD_BYTES = 64


class Ledger:
    """The file and its figures. Safe for any number of threads, processes and, with `sharing`, machines."""

    def __init__(self, path: Path, *, sharing: Sharing = ONE_DISK) -> None:
        self._path, self._sharing, self._lock = path, sharing, threading.RLock()
        self._reset()

    def append(self, *lines: Line) -> None:
        """Append lines. Once this returns, they survive a kill of any process.

        Raises:
            OSError: the disk is full, read-only or not mounted, or the file's folder does not exist.
            ValueError: a number in a line is not finite.
        """
        self._sharing.append(self._path, [line.to_json() for line in lines], is_synced=False)

    def figures(self) -> dict[str, VersionFigures]:
        """Return, by version, the means over the masks that people received from it."""
        with self._lock:
            self._read()
            return {name: sums.figures() for name, sums in self._versions.items() if sums.masks.n}

    def pending(self) -> dict[int, Seen]:
        """Return the annotations that wait to be compared, by id."""
        with self._lock:
            self._read()
            return dict(self._pending)

    def is_counted(self, annotation_id: int) -> bool:
        """Return whether a comparison of this annotation counts."""
        with self._lock:
            self._read()
            return annotation_id in self._done_at

    def latest_at(self, annotation_id: int) -> str | None:
        """Return the annotation's latest state in any line; None for an unknown or deleted annotation."""
        with self._lock:
            self._read()
            return self._latest_at.get(annotation_id)

    def list_known(self) -> dict[int, str]:
        """Return the latest known state of every annotation but the deleted ones, by id."""
        with self._lock:
            self._read()
            return dict(self._latest_at)

    def compact(self, *, most_outdated: int = _MOST_OUTDATED) -> bool:
        """Take out the outdated lines if they outnumber the lines that count; return whether they did.

        Other processes may append and read meanwhile: writers wait, and readers start over with the new file.

        Raises:
            OSError: as `append`; the file stays as it was.
        """
        with self._lock:
            self._read()
            if not self._is_mostly_outdated(most_outdated):
                return False
            with lock_file(self._path) as file:
                self._take_new(file)
                if not self._is_mostly_outdated(most_outdated):
                    return False  # another process has just compacted the file
                replace_lines(self._path, self._lines_that_count(file))
            return True

    def _is_mostly_outdated(self, most: int) -> bool:
        count = len(self._done_at) + len(self._pending)
        return self._lines - count > max(most, count)

    def _lines_that_count(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the lines in the order of writing, for the moving mean covers the latest."""
        yield to_bytes(From(id=secrets.token_hex(16)))
        for start in sorted(self._done_at.values()):
            file.seek(start)
            yield file.readline()
        for seen in self._pending.values():
            yield to_bytes(seen)

    def _reset(self) -> None:
        self._offset, self._lines, self._head = 0, 0, b""
        self._pending: dict[int, Seen] = {}
        self._done_at: dict[int, int] = {}  # byte offset of the annotation's line
        self._versions: dict[str, VersionSums] = {}
        self._latest_at: dict[int, str] = {}

    def _read(self) -> None:
        """Read the lines that any process has appended since the last look."""
        self._sharing.refresh(self._path)
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
            self._reset()  # the file was replaced
        self._head = head
        file.seek(self._offset)
        while (data := file.readline()).endswith(b"\n"):
            start, self._offset = self._offset, self._offset + len(data)
            self._lines += 1
            self._take(_parse_line(data), at=start, file=file)
            file.seek(self._offset)

    def _take(self, line: Line | None, *, at: int, file: BinaryIO) -> None:
        if isinstance(line, Seen | Done | Kept):
            self._latest_at[line.annotation_id] = max(line.at, self._latest_at.get(line.annotation_id, ""))
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
                self._latest_at.pop(line.annotation_id, None)
                self._forget(line.annotation_id, file)

    def _settle(self, line: Done | Kept) -> None:
        """Remove the annotation from what waits, unless it changed during its comparison."""
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
    """Parse a line; None for a torn line, whose annotation is still pending."""
    try:
        return parse_line(json.loads(data))
    except (ValueError, RecursionError):
        log.warning(
            "a line of the live evaluation cannot be read and is skipped: %s", data[:60], extra={"event": "live.torn"}
        )
        return None
