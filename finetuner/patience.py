"""Reads an image again where its failure passes: an image is left out of a training only for what is wrong with it."""

import time
from collections.abc import Callable
from typing import TypeVar

from backend.errors import Unavailable, Upstream

PAUSES_S = (1.0, 4.0)  # between tries; after them the job as a whole is tried again
_LONGEST_S = 10.0  # of what a host asks for with Retry-After
# Of a file: what another try does not change. All others (a disk that is full, a share that is away) pass.
_OF_THE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

T = TypeVar("T")


def is_passing(fault: Exception) -> bool:
    """Whether the same read may succeed later: the host, Label Studio or the disk failed, not the image."""
    if isinstance(fault, Upstream):
        return fault.is_passing is True
    if isinstance(fault, OSError):
        return not isinstance(fault, _OF_THE_FILE)
    return isinstance(fault, Unavailable)


def read_patiently(read: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Return what `read` returns; read up to three times while its failure passes, and twice where nobody can tell.

    Raises:
        Exception: what the last read raised.
    """
    for number, pause_s in enumerate(PAUSES_S):
        try:
            return read()
        except Exception as fault:
            is_unknown = isinstance(fault, Upstream) and fault.is_passing is None
            if not (is_passing(fault) or (is_unknown and number == 0)):
                raise
            asked_s = (fault.retry_after_s or 0.0) if isinstance(fault, Upstream) else 0.0
            sleep(min(_LONGEST_S, max(pause_s, asked_s)))
    return read()
