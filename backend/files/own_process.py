"""How this process uses the machine: threads that wait sleep, freed memory is kept, the smallest numbers are zero."""

import ctypes
import os
import platform
import sys

_WAIT_POLICY, _SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_mallopt = getattr(_libc, "mallopt", None)
# Of the register MXCSR, by which x86 computes: take denormal numbers for zero, and make none.
_DENORMALS_ARE_ZERO, _FLUSH_TO_ZERO = 1 << 6, 1 << 15
_WORDS, _MXCSR = 8, 7  # `fenv_t` on x86-64 in words of 32 bits, and which of them is the register


def prepare_process() -> None:
    """Do all that this module offers. Call it before torch loads and before threads start: they inherit it."""
    share_cores()
    keep_freed_memory()
    flush_denormals()


def share_cores() -> None:
    """Make threads that wait for one another sleep instead of spin, here and in all children. Call before torch loads.

    GNU OpenMP's threads, PyTorch's on Linux, spin some 100 ms by default. While two processes, such as a training and a
    server, share the cores, either burns the time that the other's slowest thread needs. On two cores, beside two busy
    processes, 60 decodes of a training took 67 to 81 s with the default, 13 s with this bound, and 10 to 12 s without
    any spinning, which makes a decode on an idle machine a third slower. A policy that the user has set stays.
    """
    if _WAIT_POLICY not in os.environ:
        os.environ.setdefault(_SPINS, "1000")


def keep_freed_memory() -> None:
    """Let a process that encodes keep up to 256 MB of freed memory for its next arrays.

    An encode frees some 200 MB, in arrays of 4 to 32 MB, and asks for them again. By default glibc returns them to the
    kernel, and fetching zeroed pages anew took an eighth of an encode's processor time (52,000 page faults). A value
    that the user has set stays. Another C library ignores the call.
    """
    if _mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return
    # 32 MiB is glibc's upper limit. Larger arrays, such as a decoded image, still go back to the kernel at once.
    _mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    _mallopt(_M_TOP_PAD, 64 << 20)


def flush_denormals() -> None:
    """Let this thread, and those that it starts later, take numbers below 1.2e-38 for zero, as GPUs' libraries do.

    The squares of gradients, which a training averages, hold many. Intel's processors multiply such denormal numbers
    many times as slowly as others: a training of a decoder took 91 s of a core instead of 60. Other processors are
    left alone. It is done without `torch.set_flush_denormal`, since torch takes seconds to load.
    """
    if _libc is None or platform.machine() != "x86_64" or not hasattr(_libc, "fesetenv"):
        return
    environment = (ctypes.c_uint32 * _WORDS)()
    _libc.fegetenv(environment)
    environment[_MXCSR] |= _DENORMALS_ARE_ZERO | _FLUSH_TO_ZERO
    _libc.fesetenv(environment)
