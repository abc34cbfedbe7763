"""Turns errors of the registry's disk into errors that name the next step, and checks that the disk is mounted."""

import errno
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from backend.errors import Unavailable
from backend.files.durable import make_folder, write_file, write_new
from backend.registry.state import OneDisk

log = logging.getLogger(__name__)
MARK_FILE: Final = "registry.json"
_FORMAT: Final = 1
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Disk:
    """Turns the operating system's errors below `root` into Unavailable.

    The first write leaves a mark in the registry. A root that lost its mark is an empty mount point; the mounted
    disk would hide what was published there.

    Args:
        root: the registry's folder.
        memory: a folder on this machine's own disk that remembers, across restarts, which roots had a mark; with None,
            only this process remembers.
    """

    def __init__(self, root: Path, *, memory: Path | None = None) -> None:
        self.root, self._is_marked, self._is_remembered = root, False, False
        name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
        self._memory = None if memory is None else memory / f"{name}.json"

    @property
    def had_mark(self) -> bool:
        """Whether this process, or one before it on this machine, saw the registry's mark."""
        return self._is_marked or (self._memory is not None and self._memory.exists())

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read below the root. An unreachable registry must never look like an empty one.

        Raises:
            Unavailable: the root is missing or has lost its mark, or a file below it is unreadable.
        """
        try:
            if not self.root.is_dir():
                raise Unavailable(
                    f"the registry {self.root} does not exist: is its disk mounted (MODEL_DIR)?{self._tell_step()}"
                )
            self._check_mark()
            yield
        except OSError as fault:
            raise Unavailable(f"the registry {self.root} cannot be read: {fault.strerror or fault}") from fault

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Read and write below the root.

        Raises:
            Unavailable: as in `reading`; or the disk is full, read-only, or without hard links.
        """
        with self.reading():
            try:
                self._leave_mark()
                yield
            except OSError as fault:
                said = fault.strerror or str(fault)
                step = "free some space" if fault.errno in _FULL else "make it writable, on a disk that has hard links"
                raise Unavailable(
                    f"the registry {self.root} cannot be written: {said}; the served version stays; {step} (MODEL_DIR)"
                ) from fault

    def _check_mark(self) -> None:
        had_mark = self.had_mark  # asked first: another publisher may leave the first mark after the look at the disk
        if (self.root / MARK_FILE).exists():
            self._is_marked = True
            self._remember()
        elif had_mark:
            raise Unavailable(
                f"the registry {self.root} has lost its mark ({MARK_FILE}), as an empty mount point would: is its disk "
                f"mounted (MODEL_DIR)? Nothing was written{self._tell_step()}"
            )

    def _leave_mark(self) -> None:
        """Write the mark where it is missing. Of several processes, one writes it."""
        if self._is_marked:
            return
        mark = json.dumps({"format": _FORMAT, "id": secrets.token_hex(16)}).encode()
        with suppress(FileExistsError):
            write_new(self.root / MARK_FILE, mark)
        self._check_mark()

    def _remember(self) -> None:
        """Note for later processes that this root is a registry."""
        if self._is_remembered or self._memory is None:
            return
        self._is_remembered = True
        try:
            make_folder(self._memory.parent)
            write_file(self._memory, json.dumps({"format": _FORMAT, "root": str(self.root)}).encode(), is_synced=False)
        except OSError as fault:
            log.debug("the registry %s is not remembered across restarts: %s", self.root, fault)

    def _tell_step(self) -> str:
        """The next step for people who deleted the registry on purpose."""
        if self._memory is None or not self._memory.exists():
            return ""
        return f"; if you deleted it on purpose, delete {self._memory} too"


class MarkedDisk(OneDisk):
    """`Sharing` on a registry's disk: what would land in an empty mount point is refused.

    Args:
        disk: knows the registry's mark.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def append(self, path: Path, values: Sequence[object], *, is_synced: bool) -> None:
        """See Sharing."""
        self._check()
        super().append(path, values, is_synced=is_synced)

    def push(self, path: Path) -> None:  # noqa: ARG002 - it lies there already, if the disk does
        """See Sharing."""
        self._check()

    def _check(self) -> None:
        try:
            with self._disk.reading():
                return
        except Unavailable as fault:
            raise OSError(errno.ENODEV, str(fault)) from fault
