"""Gives memory back that a large image took.

glibc keeps what a thread frees for that thread's next allocation. One image of 100 megapixels would leave a server
hundreds of MiB larger for good.
"""

import ctypes


def give_back_memory() -> None:
    """Return freed memory of all threads to the system; where the C library knows no `malloc_trim`, do nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
