"""Locks between processes: advisory, on a file, and let go of by the kernel when their holder dies, however it dies.

By hand and not `filelock`: a waiter here sleeps in the kernel instead of polling, the holder of a lock can be a child
that inherited the descriptor, and a file system without locks says so instead of being given files in their place,
which would outlive a killed holder.
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
    """Lock the file exclusively, made where it is missing; returns the descriptor that holds the lock.

    Whoever closes the descriptor lets go, and so does whoever ends: a child that inherited it holds the lock on.

    Args:
        path: the lock's file, whose content nobody reads.
        longest_s: seconds to wait for another holder; 0 looks once.

    Returns:
        None if somebody else still holds the lock.

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
def locked(path: Path) -> Iterator[None]:
    """Hold the lock inside, however long it takes to get it.

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
    """Lock an open file exclusively; False if somebody else still holds the lock after `longest_s`.

    Raises:
        OSError: its file system has no locks.
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
