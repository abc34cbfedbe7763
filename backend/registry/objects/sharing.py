"""The state of several machines that share a store, as files on every machine's disk.

    state/<path of a file of lines>/000000012.json   the lines that some machine appended as the twelfth
    state/<path of another file>                     the file as it was pushed last

Lines are appended to the store first, under the next number, and then to the local file; whoever finds the number taken
appends the other machine's lines before. So every machine has the same lines in the same order.
"""

import errno
import json
import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from cachetools import TTLCache

from backend.errors import SamloopError
from backend.files.durable import write_file
from backend.files.json_lines import append_line
from backend.files.locks import hold_lock
from backend.registry.objects.store import ObjectStore
from backend.registry.refs import name_file, parse_content, sort_numbers

log = logging.getLogger(__name__)
_FRESH_S = 2.0  # how long a file counts as up to date after a look
_MOST_FRESH = 10_000
_AT_ONCE = 16  # objects that a new machine reads at once


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
        data = json.dumps({"by": secrets.token_hex(8), "lines": lines}).encode()
        with hold_lock(_name_lock(path)), _as_os_error():
            while not self._store.create(self._name_key(path, number := _read_number(path) + 1), data):
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

    def _read_new(self, path: Path, *, is_synced: bool) -> None:
        """Append the lines under the numbers after the last that was read; the caller holds the file's lock."""
        number = _read_number(path) + 1
        if number == 1:  # a new machine: a request for every number in turn would take long
            numbers = sort_numbers(self._store.list_objects(self._name_key(path)))
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for number, data in zip(numbers, pool.map(lambda n: self._read(path, n), numbers), strict=True):
                    _append(path, _parse_lines(data), number=number, is_synced=is_synced)
            return
        while (data := self._read(path, number)) is not None:
            _append(path, _parse_lines(data), number=number, is_synced=is_synced)
            number += 1

    def _read(self, path: Path, number: int) -> bytes | None:
        return self._store.read(self._name_key(path, number))

    def _is_fresh(self, path: Path) -> bool:
        """Whether the path was looked at a moment ago; it counts as looked at from now on."""
        with self._lock:
            was_fresh = path in self._fresh
            if not was_fresh:
                self._fresh[path] = True
            return was_fresh

    def _name_key(self, path: Path, number: int | None = None) -> str:
        key = f"state/{path.relative_to(self._root).as_posix()}"
        return key if number is None else f"{key}/{name_file(number)}"

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


def _parse_lines(data: bytes | None) -> list[str]:
    content = {} if data is None else parse_content(data, where="shared lines")
    lines = content.get("lines")
    return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []


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
