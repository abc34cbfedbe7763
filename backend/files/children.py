"""Processes that share a machine's cores, do not outlive their parent, and are stopped by their own process id."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_WAIT_POLICY, _SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
# Looked up here, not in the child: between fork and exec nothing may import or allocate locks.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None


def share_cores() -> None:
    """Let threads that wait for one another soon sleep instead of spin, here and in all children. Before torch loads.

    GNU OpenMP's threads, PyTorch's on Linux, spin some 100 ms by default. While a training and a server, or two of
    anything, share the cores, either burns the time that the other's slowest thread needs: measured on two cores beside
    two busy processes, 60 decodes of a training took 67 to 81 s spinning, 13 s so, 10 to 12 s without any spinning,
    which in turn makes a decode on an idle machine a third slower. A policy that the user has set stays.
    """
    if _WAIT_POLICY not in os.environ:
        os.environ.setdefault(_SPINS, "1000")


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, up to 256 MB, for the next array. For a process that encodes.

    An encode frees and asks again for some 200 MB in arrays of 4 to 32 MB, which glibc gives back to the kernel every
    time; fetching them anew, page by page and filled with zeros, was an eighth of an encode's processor time (52,000
    page faults). What the user has set stays; with another C library nothing happens.
    """
    if _mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return
    # 32 MiB is the largest that glibc takes; larger arrays (a decoded photograph) still go back to the kernel at once.
    _mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    _mallopt(_M_TRIM_THRESHOLD, 256 << 20)
    _mallopt(_M_TOP_PAD, 64 << 20)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process (SIGKILL) once the thread that started it has ended.

    Called in the child, first of all. Without it a training goes on after its worker was killed, beside the one that
    another worker starts in its place. Linux only; elsewhere nothing happens.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent died before the kernel was told
        os._exit(1)


def bound_to_parent() -> Callable[[], None]:
    """A `preexec_fn` for `subprocess.Popen` that binds the child to the calling process.

    The thread that calls Popen must live as long as the child: it is the one the kernel watches.
    """
    parent_pid = os.getpid()
    return lambda: die_with_parent(parent_pid)


def ourselves(*arguments: str) -> list[str]:
    """The command line of `samloop` with these arguments, by this very interpreter."""
    return [
        sys.executable,
        "-P",
        "-m",
        "backend",
        *arguments,
    ]  # -P: not what lies in the folder that we happen to be in


def start(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: BinaryIO | None = None,
    pass_fds: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child that reads nothing and dies with us, in a session of its own: Ctrl-C reaches us alone.

    The thread that calls this must live as long as the child: it is the thread that the kernel watches.

    Args:
        command: the program and its arguments; no shell reads them.
        environ: all of its environment; absent: ours.
        folder: where it runs; absent: where we do.
        output: takes what it prints and what it complains of; absent: both go where ours go.
        pass_fds: descriptors that it inherits.

    Raises:
        OSError: there is no such program.
    """
    return subprocess.Popen(  # noqa: S603 - our own programs and options
        command,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
        preexec_fn=bound_to_parent(),  # noqa: PLW1509 - a single system call, looked up before the fork
    )


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Send SIGTERM, after `grace_s` SIGKILL, and wait; tells the exit code. Harmless when it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
