"""Child processes that never outlive their parent."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1
# Look these up here, not in the child: between fork and exec nothing may import or allocate locks.
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process (SIGKILL) once the thread that started it has ended.

    The child calls it first of all. Without it a training would outlive its killed worker and run beside the training
    that another worker starts in its place. Outside Linux it does nothing.
    """
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # the parent died before the kernel learned of the binding
        os._exit(1)


def bind_to_parent() -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess.Popen` that binds the child to the calling process.

    The thread that calls Popen must live as long as the child: the kernel watches that thread.
    """
    parent_pid = os.getpid()
    return lambda: die_with_parent(parent_pid)


def own_command(*arguments: str) -> list[str]:
    """Return the command line that runs `samloop` with these arguments in this interpreter."""
    return [
        sys.executable,
        "-P",
        "-m",
        "backend",
        *arguments,
    ]  # -P: never import from the current folder


def start(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: BinaryIO | None = None,
    pass_fds: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches us alone. It reads no input and dies with us.

    The calling thread must live as long as the child: the kernel watches that thread.

    Args:
        command: the program and its arguments; no shell reads them.
        environ: the child's whole environment; None: ours.
        folder: the child's working folder; None: ours.
        output: takes the child's stdout and stderr; None: they go where ours go.
        pass_fds: descriptors that the child inherits.

    Raises:
        OSError: the program does not exist.
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
        preexec_fn=bind_to_parent(),  # noqa: PLW1509 - one system call, looked up before the fork
    )


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Send SIGTERM, then SIGKILL after `grace_s`, and return the exit code. Harmless when the process has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
