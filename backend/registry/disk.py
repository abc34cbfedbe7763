"""The disk that a registry lies on: what its errors mean to whoever asked."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.errors import Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Disk:
    """Turns the operating system's errors about what lies below `root` into Unavailable, with the next step."""

    root: Path

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell that the registry is away, which must never look like "nothing was published".

        Raises:
            Unavailable: there is no root, or something below it cannot be read.
        """
        try:
            if not self.root.is_dir():
                raise Unavailable(f"the registry {self.root} is not there; is its disk mounted (MODEL_DIR)?")
            yield
        except OSError as fault:
            raise Unavailable(f"the registry {self.root} cannot be read: {fault.strerror or fault}") from fault

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As `reading`, for what also writes.

        Raises:
            Unavailable: the disk is full, read-only, or has no hard links.
        """
        with self.reading():
            try:
                yield
            except OSError as fault:
                said = fault.strerror or str(fault)
                step = "free some space" if fault.errno in _FULL else "make it writable, on a disk that has hard links"
                raise Unavailable(
                    f"the registry {self.root} cannot be written: {said}; what is served stays; {step} (MODEL_DIR)"
                ) from fault
