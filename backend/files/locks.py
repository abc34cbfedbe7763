"""Advisory locks between processes, on files. The kernel frees a lock when its holder dies, however it dies.

Written by hand instead of with `filelock`, for three reasons: a waiter sleeps in the kernel instead of polling; a child
that inherited the descriptor can hold the lock; and a file system without locks raises an error, where `filelock` would
leave marker files that outlive a killed holder.
"""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.05


def take_lock(path: Path, *, longest_s: float = math.inf) -> int | None:
    """Lock the file exclusively and return the descriptor that holds the lock. A missing file is made.

    Closing the descriptor frees the lock, and so does the end of the process, unless a child inherited the descriptor.

    Args:
        path: the lock's file; nobody reads its content.
        longest_s: how long to wait for another holder, s; 0 tries once.

    Returns:
        The descriptor, or None if another holder still has the lock.

    Raises:
        OSError: the file cannot be made, or its file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    is_ours = False
    try:
        is_ours = lock_descriptor(descriptor, longest_s=longest_s)
    finally:
        if not is_ours:
            os.close(descriptor)
    return descriptor if is_ours else None


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock inside the block, however long the wait for it takes.

    Raises:
        OSError: as `take_lock`.
    """
    descriptor = take_lock(path)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_descriptor(descriptor: int, *, longest_s: float = math.inf) -> bool:
    """Lock an open file exclusively. Return False if another holder still has the lock after `longest_s` seconds.

    Raises:
        OSError: the file system has no locks.
    """
    if math.isinf(longest_s):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    until_s = time.monotonic() + longest_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                return False
            time.sleep(_POLL_S)
        else:
            return True
