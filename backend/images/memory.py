"""Gives freed memory back to the system.

glibc keeps a thread's freed memory for that thread's next allocation. A single image of 100 megapixels would leave the
server hundreds of MiB larger for good.
"""

import ctypes


def give_back_memory() -> None:
    """Return all threads' freed memory to the system. A C library without `malloc_trim` keeps it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
