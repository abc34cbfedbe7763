"""Where a command puts what it makes, looked at before the work: an hour's training must not end at a bad path."""

import os
import tempfile
from pathlib import Path

from backend.errors import BadInput


def new_folder(path: Path) -> Path:
    """Return the absolute path of a folder that can be made here; make its parents.

    Raises:
        BadInput: `path` holds something, is a file or a link, or cannot be written.
    """
    path = _absolute(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BadInput(f"{path} is no folder: name one that does not exist yet, or is empty")
    _try_writing(path.parent, wanted=path)
    if path.is_dir():
        if any(path.iterdir()):
            raise BadInput(
                f"{path} is not empty, and nothing is ever overwritten: name a folder that does not exist yet"
            )
        _try_writing(path, wanted=path)
    return path


def new_file(path: Path) -> Path:
    """Return the absolute path of a file that can be made here; make its parents.

    Raises:
        BadInput: there is something at `path`, or it cannot be written.
    """
    path = _absolute(path)
    if path.is_symlink() or path.exists():
        raise BadInput(f"{path} exists, and nothing is ever overwritten: move it away, or name another file")
    _try_writing(path.parent, wanted=path)
    return path


def usable_folder(path: Path) -> Path:
    """Return the absolute path of a folder that may hold something by now; make it if it does not exist.

    Raises:
        BadInput: it is a file, or cannot be written.
    """
    path = _absolute(path)
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path} is no folder: name a folder, or one that does not exist yet")
    _try_writing(path, wanted=path)
    return path


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as fault:  # a user that does not exist
        raise BadInput(f"{path} cannot be written: {fault}") from fault


def _try_writing(folder: Path, *, wanted: Path) -> None:
    """Make the folder, and a file in it that goes at once; permissions alone do not tell of a read-only disk."""
    try:
        folder.mkdir(mode=0o777, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except (FileExistsError, NotADirectoryError) as fault:
        above = next(path for path in (folder, *folder.parents) if path.is_file() or path.is_symlink())
        raise BadInput(f"{wanted} cannot be written: {above} is no folder; name another place") from fault
    except OSError as fault:
        raise BadInput(
            f"{wanted} cannot be written: {fault.strerror or fault}: name another place, or make room there"
        ) from fault
