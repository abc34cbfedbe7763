"""The state of several machines that share a store, as files on every machine's disk.

    state/<path of a file of lines>/   the lines that some machine appended as the twelfth, and so on: see `lines`
    state/<path of another file>       the file as it was pushed last

Lines are appended to the store first, under the next number, and then to the local file; whoever finds the number taken
appends the other machine's lines before. So every machine has the same lines in the same order.
"""

import errno
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cachetools import TTLCache

from backend.errors import SamloopError
from backend.files.durable import write_file
from backend.files.json_lines import append_line
from backend.files.locks import hold_lock
from backend.registry.objects.lines import BLOCK, SharedLines
from backend.registry.objects.store import ObjectStore

log = logging.getLogger(__name__)
_FRESH_S = 2.0  # how long a file counts as up to date after a look
_MOST_FRESH = 10_000
_MOST_BLOCKS = 500  # that one compaction makes: a minute's work
_LINES = ".jsonl"  # how the name of a file of lines ends


class StoreSharing:
    """`Sharing` through a store. Safe for any number of threads, processes and machines.

    Args:
        store: the registry's.
        root: the state folder on this machine; paths below it are keys below `state/`.
    """

    def __init__(self, store: ObjectStore, root: Path) -> None:
        self._store, self._root = store, root
        self._fresh: TTLCache[Path, bool] = TTLCache(_MOST_FRESH, ttl=_FRESH_S)
        self._lock = threading.Lock()
        self._is_away = False

    def append(self, path: Path, values: Sequence[object], *, is_synced: bool) -> None:
        """See Sharing."""
        lines = [json.dumps(value, allow_nan=False) for value in values]
        shared = self._open_lines(path)
        with hold_lock(_name_lock(path)), _as_os_error():
            while not shared.take(number := _read_number(path) + 1, lines):
                self._read_new(path, is_synced=is_synced)
            _append(path, lines, number=number, is_synced=is_synced)

    def refresh(self, path: Path) -> None:
        """See Sharing: at most every two seconds."""
        if self._is_fresh(path) or not path.parent.is_dir():
            return
        with self._leaving(path), hold_lock(_name_lock(path)):
            self._read_new(path, is_synced=False)

    def list_folders(self, folder: Path) -> None:
        """See Sharing: at most every two seconds."""
        if self._is_fresh(folder):
            return
        with self._leaving(folder):
            for name in self._store.list_names(self._name_key(folder)):
                (folder / name).mkdir(parents=True, exist_ok=True)

    def push(self, path: Path) -> None:
        """See Sharing."""
        with _as_os_error():
            self._store.write(self._name_key(path), path.read_bytes())

    def pull(self, path: Path) -> None:
        """See Sharing."""
        with self._leaving(path):
            data = self._store.read(self._name_key(path))
            if data is not None and not _holds(path, data):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, data, is_synced=False)

    def drop(self, path: Path) -> None:
        """See Sharing."""
        with self._leaving(path):
            key = self._name_key(path)
            self._store.delete([key, *(f"{key}/{name}" for name in self._store.list_objects(key))])

    def compact(self) -> int:
        """Merge the objects of all files of lines, a hundred into one; return how many were made of a hundred.

        Any number of machines may append, read and compact meanwhile.

        Raises:
            Unavailable, BadCheckpoint: as `SharedLines`; what is not merged stays as it is.
        """
        made = 0
        names: dict[str, list[str]] = {}
        for key in self._store.list_objects("state"):
            folder, _, name = key.rpartition("/")
            names.setdefault(folder, []).append(name)
        for folder, found in names.items():
            if folder.endswith(_LINES):
                made += SharedLines(self._store, f"state/{folder}").compact(found, most_blocks=_MOST_BLOCKS - made)
        return made

    def _read_new(self, path: Path, *, is_synced: bool) -> None:
        """Append the lines under the numbers after the last that was read; the caller holds the file's lock."""
        shared, number = self._open_lines(path), _read_number(path)
        if number == 0:  # a new machine: to read a number after the other would take long
            for number, lines in enumerate(shared.read_all(), start=1):
                _append(path, lines, number=number, is_synced=is_synced)
            return
        while part := shared.read_from(number + 1):
            for lines in part:
                number += 1
                _append(path, lines, number=number, is_synced=is_synced)
            if number % BLOCK:
                return  # the end is within the block

    def _open_lines(self, path: Path) -> SharedLines:
        return SharedLines(self._store, self._name_key(path))

    def _is_fresh(self, path: Path) -> bool:
        """Whether the path was looked at a moment ago; it counts as looked at from now on."""
        with self._lock:
            was_fresh = path in self._fresh
            if not was_fresh:
                self._fresh[path] = True
            return was_fresh

    def _name_key(self, path: Path) -> str:
        return f"state/{path.relative_to(self._root).as_posix()}"

    @contextmanager
    def _leaving(self, path: Path) -> Iterator[None]:
        """Leave the local files as they are where the store cannot be reached; say so once."""
        try:
            yield
            self._is_away = False
        except (SamloopError, OSError) as fault:
            level = logging.DEBUG if self._is_away else logging.WARNING
            log.log(level, "%s may be out of date: %s", path, fault, extra={"event": "state.away"})
            self._is_away = True


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise a store's absence as what a disk's absence is to whoever writes files."""
    try:
        yield
    except SamloopError as fault:
        raise OSError(errno.EIO, str(fault)) from fault


def _append(path: Path, lines: Sequence[str], *, number: int, is_synced: bool) -> None:
    """Append lines and then note their number: a kill in between repeats lines, and loses none."""
    for line in lines:
        append_line(path, json.loads(line), is_synced=is_synced)
    write_file(_name_number(path), str(number).encode(), is_synced=False)


def _read_number(path: Path) -> int:
    """The number of the last lines in the local file, 0 where there are none."""
    with suppress(OSError, ValueError):
        return int(_name_number(path).read_bytes())
    return 0


def _holds(path: Path, data: bytes) -> bool:
    with suppress(OSError):
        return path.read_bytes() == data
    return False


def _name_number(path: Path) -> Path:
    return path.with_name(f".{path.name}.number")


def _name_lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
