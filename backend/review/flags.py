"""Analysts' flags: one JSON line a flag, one file a project, in `MODEL_DIR/review`; an analyst's latest flag counts.

Lines are appended under the file's lock, so any number of servers may write. A line that a power cut left incomplete is
skipped; the lines after it still count.
"""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from backend.errors import BadInput, Unavailable
from backend.files.durable import make_inside
from backend.registry.state import StateDir

log = logging.getLogger(__name__)

VERDICTS = ("accept", "too loose", "too tight", "wrong")
TAKEN_BACK = "none"
LABEL_AGAIN = frozenset({"too loose", "wrong"})
LONGEST_ANALYST = 60
LONGEST_NOTE = 500
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """An analyst's verdict on one mask: what `version` drew of object `key` with `prompt`.

    Attributes:
        at: when it was given, ISO 8601, UTC.
        task_id: text, because a task of an export may have any id.
        verdict: one of VERDICTS, or TAKEN_BACK.
        note: the analyst's own words; "" without any. A note counts without a verdict too.
    """

    at: str
    version: str
    key: str
    prompt: str
    task_id: str
    label: str
    analyst: str
    verdict: str
    note: str = ""

    @property
    def mask(self) -> tuple[str, str, str]:
        """The mask that the verdict is on: version, key, prompt."""
        return self.version, self.key, self.prompt


class Flags:
    """The flags of all projects in one folder. Any number of threads and processes may share it.

    Every method raises Unavailable when the folder cannot be read or written.
    """

    def __init__(self, state_dir: StateDir) -> None:
        self._state = state_dir

    def add(self, project_id: int, flag: Flag) -> None:
        """Store a flag on disk.

        Raises:
            BadInput: the verdict is unknown.
        """
        if flag.verdict not in {*VERDICTS, TAKEN_BACK}:
            raise BadInput(f"{flag.verdict[:40]!r} is not one of {', '.join(VERDICTS)}")
        path = self._path(project_id)
        try:
            make_inside(self._state.root, path.parent)
            self._state.sharing.append(path, [asdict(flag)], is_synced=True)
        except OSError as fault:
            said = fault.strerror or str(fault)
            raise Unavailable(
                f"the flag was not stored: {path}: {said}; repair this, then flag the mask again"
            ) from fault

    def current(self, project_id: int) -> tuple[Flag, ...]:
        """Every analyst's latest flag of every mask, oldest first; none that was taken back, unless it has a note."""
        latest: dict[tuple[str, ...], Flag] = {}
        for flag in self._lines(project_id):
            latest.pop((*flag.mask, flag.analyst), None)
            latest[*flag.mask, flag.analyst] = flag
        return tuple(flag for flag in latest.values() if flag.verdict != TAKEN_BACK or flag.note)

    def _lines(self, project_id: int) -> Iterator[Flag]:
        path = self._path(project_id)
        self._state.sharing.list_folders(self._state.review)
        self._state.sharing.refresh(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as fault:
            raise Unavailable(f"the flags cannot be read: {fault.strerror or fault}") from fault
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                told = json.loads(line) if line else None
            except (ValueError, RecursionError):
                told = "unreadable"
            if (
                isinstance(told, dict)
                and set(told) | {"note"} == _FIELDS
                and all(isinstance(value, str) for value in told.values())
            ):
                yield Flag(**told)
            elif told is not None:
                log.warning(
                    "line %d in the flags of project %d is not a flag and is skipped",
                    number,
                    project_id,
                    extra={"event": "flag.bad"},
                )

    def _path(self, project_id: int) -> Path:
        return self._state.review / str(project_id) / "flags.jsonl"


_FIELDS = {field.name for field in fields(Flag)}  # lines of earlier versions have no note


def count_flags(flags: Iterable[Flag]) -> dict[str, int]:
    """Count the flags by verdict, in the order of VERDICTS."""
    counts = Counter(flag.verdict for flag in flags)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def as_csv(flags: Iterable[Flag]) -> bytes:
    """Return a CSV table for a spreadsheet: UTF-8 with a byte order mark, headings first.

    A cell that a spreadsheet would read as a formula begins with an apostrophe (OWASP, CSV injection).
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = [field.name for field in fields(Flag)]
    writer.writerow(names)
    for flag in flags:
        writer.writerow([_cell(getattr(flag, name)) for name in names])
    return text.getvalue().encode("utf-8-sig")


def _cell(value: str) -> str:
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
