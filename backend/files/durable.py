"""Writes that leave a whole file or none, whatever is killed, and folders whose names outlast a power cut."""

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

# The errors of opening a link, a socket or a device. Any further error is the disk's, and may pass.
_NOT_PLAIN = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR, errno.ENODEV})


def write_file(path: Path, data: bytes, *, is_synced: bool = True) -> None:
    """Write `data` to `path`, whole or not at all, by renaming a temporary file beside it.

    A process killed at any moment leaves the old file or the new file. With `is_synced` so does a power cut. Without it
    the write does not wait for the disk, which is enough for values that can be computed again.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    temporary = _name_beside(path)
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
        OSError: the file exists, the disk is full, or the folder cannot be written.
    """
    with path.open("xb") as file:
        file.write(data)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def fill_folder(path: Path) -> Iterator[Path]:
    """Make the folder `path`, whole or not at all. The block fills a temporary folder, which is renamed at the end.

    Raises:
        OSError: `path` exists by then, the disk is full, or the parent cannot be written. No part of the folder stays.
    """
    temporary = _name_beside(path)
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
        FileNotFoundError, NotADirectoryError: the file does not exist.
        BadCheckpoint: `path` is a link, a folder or a device.
        Unavailable: the disk cannot read the file now.
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
        raise BadCheckpoint(f"{path} is not a plain file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor, not a path; the caller closes it


def sync_folder(folder: Path) -> None:
    """Bring the folder's entries to the disk: without this, a power cut may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create the folder and its parents where they are missing, and bring their names to the disk."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def _name_beside(path: Path) -> Path:
    """Return an unused hidden name in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def make_inside(root: Path, folder: Path) -> None:
    """Create the folders from below `root` down to `folder`, but never the root itself.

    The root may lie on a disk that is not mounted now. An empty folder in its place would hide every version.

    Raises:
        FileNotFoundError: the root does not exist.
    """
    within = folder.relative_to(root)
    for parent in (*reversed(within.parents[:-1]), within):
        (root / parent).mkdir(exist_ok=True)
