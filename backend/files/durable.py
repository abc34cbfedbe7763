"""Files that are whole or not there at all, whatever is killed, and folders whose names outlast a power cut."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from backend.errors import BadCheckpoint, Unavailable

# What opening says of a link, a socket or a device. Anything else is the disk's fault, and may pass.
_NOT_PLAIN = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR, errno.ENODEV})


def write_file(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Put `data` at `path` whole or not at all: a temporary file beside it that is renamed.

    Killed at any moment, the process leaves the old file or the new one. With `is_synced` a power cut does too; without
    it the write takes no time at the disk, which is enough for what can be computed again.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    temporary = _beside(path)
    try:
        write_new(temporary, data, is_synced=is_synced)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if is_synced:
        sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Create `path` with `data`, and bring it to the disk if `is_synced`.

    Raises:
        OSError: it exists, the disk is full, or the folder cannot be written.
    """
    with path.open("xb") as file:
        file.write(data)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def filled_folder(path: Path) -> Iterator[Path]:
    """Make the folder `path` whole or not at all: fill the folder that this gives, and it gets the name at the end.

    Raises:
        OSError: something is at `path` by then, the disk is full, or the parent cannot be written; nothing is left.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir()
        yield temporary
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file for reading; the caller closes it.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        BadCheckpoint: it is a link, a folder or a device.
        Unavailable: the disk does not give it just now.
    """
    try:
        # O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as fault:
        if fault.errno in _NOT_PLAIN:
            raise BadCheckpoint(f"{path} cannot be read as a plain file: {fault.strerror}") from fault
        raise Unavailable(f"{path} cannot be read now: {fault.strerror}; is its disk mounted and readable?") from fault
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadCheckpoint(f"{path} is no plain file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor, not a path; the caller closes it


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk: without this a rename may be undone by a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create the folder where it is missing, and bring its name to the disk."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def _beside(path: Path) -> Path:
    """A name that nobody else has, hidden, in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def make_inside(root: Path, folder: Path) -> None:
    """Create the folders from below `root` to `folder`; never the root itself.

    The root may lie on a disk that is not mounted just now: an empty one in its place would hide every version.

    Raises:
        FileNotFoundError: the root is not there.
    """
    within = folder.relative_to(root)
    for parent in (*reversed(within.parents[:-1]), within):
        (root / parent).mkdir(exist_ok=True)
