"""A lock keeps processes apart, is never waited for longer than told, and dies with its holder."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.files.locks import hold_lock, lock_descriptor, take_lock

HOLDER = """
import sys
from pathlib import Path
from backend.files.locks import take_lock
descriptor = take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def open_descriptors() -> int:
    """How many this process has open; 0 where the system does not tell."""
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


@contextmanager
def held_by_another(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the lock until it is killed or the block ends."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_what_another_process_holds_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_by_another(path):
        assert take_lock(path, longest_s=0) is None
        assert take_lock(path, longest_s=0.1) is None
    descriptor = take_lock(path, longest_s=0)
    assert descriptor is not None
    os.close(descriptor)


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_by_another(path) as holder:
        holder.send_signal(signal.SIGKILL)
        with hold_lock(path):  # waits for as long as it takes
            assert take_lock(path, longest_s=0) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_threads_that_each_open_the_file_are_kept_apart_too(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [], []

    def work() -> None:
        for _ in range(50):
            with hold_lock(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 200


def test_a_child_that_inherited_the_descriptor_holds_the_lock_on(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = take_lock(path)
    assert descriptor is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]) as child:
        os.close(descriptor)
        assert take_lock(path, longest_s=0) is None
        child.communicate(b"\n")
    with hold_lock(path):
        pass


def test_a_file_that_cannot_be_made_says_so_and_leaves_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        take_lock(tmp_path / "nowhere" / "lock")
    with (tmp_path / "file").open("wb") as file:
        assert lock_descriptor(file.fileno(), longest_s=0)
        assert take_lock(tmp_path / "file", longest_s=0) is None
    assert open_descriptors() == before
