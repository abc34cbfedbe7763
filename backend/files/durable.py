"""Files that are whole or not there at all, whatever is killed, and folders whose names outlast a power cut."""

import os
import secrets
import stat
from io import BufferedReader
from pathlib import Path

from backend.errors import BadCheckpoint


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all: temporary file beside it, fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        write_new(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Create `path` with `data` and bring it to the disk.

    Raises:
        OSError: it exists, the disk is full, or the folder cannot be written.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def open_plain(path: Path) -> BufferedReader:
    """Open a plain file for reading; the caller closes it.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        BadCheckpoint: it is a link, a folder or a device, or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a FIFO must fail below, not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as fault:
        raise BadCheckpoint(f"{path} cannot be read as a plain file: {fault.strerror}") from fault
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


def make_inside(root: Path, folder: Path) -> None:
    """Create the folders from below `root` to `folder`; never the root itself.

    The root may lie on a disk that is not mounted just now: an empty one in its place would hide every version.

    Raises:
        FileNotFoundError: the root is not there.
    """
    within = folder.relative_to(root)
    for parent in (*reversed(within.parents[:-1]), within):
        (root / parent).mkdir(exist_ok=True)
