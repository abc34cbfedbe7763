"""One project's comparisons: an append-only file of lines, and the running figures over them.

    {"k": "seen", "a": 5, "t": 7, "at": updated_at, "p": process, "s": seconds}     5, of task 7, is to be compared
    {"k": "done", "a": 5, "at": updated_at, "lead_s": 3.2, "m": [[version, label, iou, boundary_iou, untouched], ...]}
    {"k": "kept", "a": 5, "at": updated_at}   what it began with is not known any more: the comparison before stands
    {"k": "gone", "a": 5}                     deleted or skipped

The last line of an annotation counts. So an annotation is counted once however often it is submitted, what was seen and
not yet compared when a process died is found by the next one, and several processes may append and read at once. Lines
that no longer count are taken out now and then; such a file begins with {"k": "from", "id": what no other has}.
"""

import json
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from backend.files.json_lines import append_line, locked, replace_lines

log = logging.getLogger(__name__)
_SMOOTHING = 0.1  # of the moving mean: the last ten annotations make two thirds of it
_RECENT = 100  # annotations that it is computed over; what is older weighs less than 1 in 30,000
_MOST_LABELS = 200
_OTHER = "(other)"
_MOST_OUTDATED = 10_000  # lines that no longer count, at least, before they are taken out
_HEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Pending:
    """An annotation to be compared, as of `at`; `process` was told of it `seen_s` (Unix time)."""

    task_id: int
    at: str
    process: str
    seen_s: float


@dataclass(slots=True)
class _Sums:
    n: int = 0
    iou: float = 0.0
    boundary_iou: float = 0.0
    untouched: int = 0

    def add(self, iou: float, boundary_iou: float, *, untouched: bool, sign: int) -> None:
        self.n += sign
        self.iou += sign * iou
        self.boundary_iou += sign * boundary_iou
        self.untouched += sign * untouched

    def means(self) -> dict[str, Any]:
        shares = {"iou": self.iou, "boundary_iou": self.boundary_iou, "untouched": self.untouched}
        return {"n": self.n, **{name: round(value / self.n, 6) for name, value in shares.items()}}


@dataclass(slots=True)
class _Version:
    masks: _Sums = field(default_factory=_Sums)
    labels: dict[str, _Sums] = field(default_factory=dict)
    annotations: int = 0
    lead_s: float = 0.0
    leads: int = 0
    recent: OrderedDict[int, float] = field(default_factory=OrderedDict)

    def submit(self, annotation_id: int, boundary_iou: float, *, lead_s: float | None, sign: int) -> None:
        self.annotations += sign
        if lead_s is not None:
            self.lead_s += sign * lead_s
            self.leads += sign
        self.recent.pop(annotation_id, None)
        if sign > 0:
            self.recent[annotation_id] = boundary_iou
            while len(self.recent) > _RECENT:
                self.recent.popitem(last=False)

    def figures(self) -> dict[str, Any]:
        return {
            **self.masks.means(),
            "annotations": self.annotations,
            "lead_time_s": round(self.lead_s / self.leads, 3) if self.leads else None,
            "boundary_iou_ema": self._moving_mean(),
            "labels": {label: sums.means() for label, sums in sorted(self.labels.items()) if sums.n},
        }

    def _moving_mean(self) -> float:
        values = iter(self.recent.values())
        mean = next(values, 0.0)
        for value in values:
            mean += _SMOOTHING * (value - mean)
        return round(mean, 6)


class Ledger:
    """The file and its figures. Safe for any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        self._reset()

    def append(self, **line: object) -> None:
        """Add a line; what comes back from this is in the file, whoever is killed then.

        Raises:
            OSError: the disk is full, read-only or away, or the file's folder does not stand.
        """
        append_line(self._path, line, is_synced=False)

    def figures(self) -> dict[str, dict[str, Any]]:
        """By version: means over the masks that people got from it; see README."""
        with self._lock:
            self._read()
            return {name: version.figures() for name, version in self._versions.items() if version.masks.n}

    def pending(self) -> dict[int, Pending]:
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
            with locked(self._path) as file:
                self._take_new(file)
                if not self._is_mostly_outdated(most_outdated):
                    return False  # another process has just done it
                replace_lines(self._path, self._that_count(file))
            return True

    def _is_mostly_outdated(self, most: int) -> bool:
        count = len(self._done_at) + len(self._pending)
        return self._lines - count > max(most, count)

    def _that_count(self, file: BinaryIO) -> Iterator[bytes]:
        """In the order in which they were written: the moving mean is one of the latest."""
        yield _line_of({"k": "from", "id": secrets.token_hex(16)})
        for start in sorted(self._done_at.values()):
            file.seek(start)
            yield file.readline()
        for annotation_id, pending in self._pending.items():
            yield _line_of(
                {
                    "k": "seen",
                    "a": annotation_id,
                    "t": pending.task_id,
                    "at": pending.at,
                    "p": pending.process,
                    "s": pending.seen_s,
                }
            )

    def _reset(self) -> None:
        self._offset, self._lines, self._head = 0, 0, b""
        self._pending: dict[int, Pending] = {}
        self._done_at: dict[int, int] = {}  # where in the file its line begins
        self._versions: dict[str, _Version] = {}

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
            self._take(_parsed(data), at=start, file=file)
            file.seek(self._offset)

    def _take(self, line: Mapping[str, Any], *, at: int, file: BinaryIO) -> None:
        match line:
            case {"k": "seen", "a": int(a), "t": int(task), "at": str(when), "p": str(process), "s": float(seen)}:
                self._pending[a] = Pending(task, when, process, seen)
            case {"k": "done", "a": int(a), "at": str(when), "m": list()}:
                self._settle(a, when)
                self._forget(a, file)
                self._count(line, sign=1)
                self._done_at[a] = at
            case {"k": "kept", "a": int(a), "at": str(when)}:
                self._settle(a, when)
            case {"k": "gone", "a": int(a)}:
                self._pending.pop(a, None)
                self._forget(a, file)

    def _settle(self, annotation_id: int, when: str) -> None:
        """Unless it was changed while it was compared."""
        pending = self._pending.get(annotation_id)
        if pending is not None and pending.at <= when:
            del self._pending[annotation_id]

    def _forget(self, annotation_id: int, file: BinaryIO) -> None:
        start = self._done_at.pop(annotation_id, None)
        if start is not None:
            file.seek(start)
            self._count(_parsed(file.readline()), sign=-1)

    def _count(self, line: Mapping[str, Any], *, sign: int) -> None:
        edges: dict[str, list[float]] = {}
        for name, told_label, iou, boundary_iou, untouched in _masks(line):
            version = self._versions.setdefault(name, _Version())
            # Memory must not grow with what a client calls things.
            known = told_label in version.labels or len(version.labels) < _MOST_LABELS
            for each in (version.masks, version.labels.setdefault(told_label if known else _OTHER, _Sums())):
                each.add(iou, boundary_iou, untouched=untouched, sign=sign)
            edges.setdefault(name, []).append(boundary_iou)
        lead_s = line.get("lead_s")
        for name, values in edges.items():
            mean = sum(values) / len(values)
            self._versions[name].submit(
                line["a"], mean, lead_s=lead_s if isinstance(lead_s, float) else None, sign=sign
            )


def _masks(line: Mapping[str, Any]) -> Iterator[tuple[str, str, float, float, bool]]:
    for each in line.get("m", ()):
        match each:
            case [str(version), str(label), float(iou), float(boundary_iou), bool(untouched)]:
                yield version, label, iou, boundary_iou, untouched


def _line_of(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _parsed(data: bytes) -> Mapping[str, Any]:
    """A torn line is none: what it should have told is still pending."""
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        log.warning("a line of the live evaluation cannot be read: %s", data[:60], extra={"event": "live.torn"})
        return {}
    return line if isinstance(line, dict) else {}
