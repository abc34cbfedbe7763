"""A disk of some MiB that can be filled to its last byte. It takes root to have it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BALLAST = "ballast"


@contextmanager
def mount_disk(folder: Path, *, mib: int) -> Iterator[bool]:
    """Make the folder a disk of its own, in memory, for as long as the block runs; False where that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "samloop-tests", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path) -> None:
    """Leave no byte free on the disk."""
    with (folder / _BALLAST).open("wb") as file:
        block = bytes(1 << 16)
        while block:
            try:
                os.write(file.fileno(), block)
            except OSError:
                block = block[: len(block) // 2]


def free_disk(folder: Path) -> None:
    """Undo `fill_disk`."""
    (folder / _BALLAST).unlink()
