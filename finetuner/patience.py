"""Reads an image again after a temporary failure: a training leaves an image out only for its own fault."""

import time
from collections.abc import Callable
from typing import TypeVar

from backend.errors import Unavailable, Upstream

PAUSES_S = (1.0, 4.0)  # between attempts; after them the whole job is tried again
_LONGEST_S = 10.0  # the longest pause that a host gets with Retry-After
# Permanent failures of a file. Other OSErrors (a full disk, an unreachable share) are temporary.
_OF_THE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

T = TypeVar("T")


def is_passing(fault: Exception) -> bool:
    """Whether the same read may succeed later, because the host, Label Studio or the disk failed."""
    if isinstance(fault, Upstream):
        return fault.is_passing is True
    if isinstance(fault, OSError):
        return not isinstance(fault, _OF_THE_FILE)
    return isinstance(fault, Unavailable)


def read_patiently(read: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Return the result of `read`, with up to three attempts after temporary failures and two after unclear ones.

    Raises:
        Exception: the exception of the last attempt.
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
