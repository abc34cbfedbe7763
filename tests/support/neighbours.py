"""Two workers of pytest-xdist on one machine: who takes what first, and which tests have the machine to themselves.

`make test` runs two workers. A file's tests stay with one of them, for what its fixtures start; what takes longest
comes first, so that both end together. A test marked `alone` runs while the other worker waits: it measures.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

# Files and folders by the time that they take, the longest first, as `pytest --durations=0` tells it: what comes last
# is short, so that no worker has a long file when the other has nothing left.
ORDER = (
    "tests/e2e/test_demo.py",
    "tests/finetuner/test_pipeline.py",
    "tests/e2e/test_analyst_story.py",
    "tests/integration/test_training.py",
    "tests/integration/test_two_hosts.py",
    "tests/e2e",
    "tests/docker",
    "tests/integration",
    "tests/test_benchmark_official.py",
    "tests/test_benchmark_synthetic.py",
    "tests/finetuner",
    "tests/contracts",
    "tests/backend/cli",
    "tests/test_docs_commands.py",
    "tests/backend/sam",
    "tests/backend/serving",
    "tests/backend/review",
)
_ROOM = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Create the folder with the workers' locks, in the process that starts the workers."""
    if not hasattr(config, "workerinput") and config.getoption("numprocesses", None):
        config.stash[_ROOM] = Path(tempfile.mkdtemp(prefix="samloop-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder."""
    if room := config.stash.get(_ROOM, None):
        shutil.rmtree(room, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the folder to a worker."""
    node.workerinput["room"] = str(node.config.stash[_ROOM])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests, the longest folders first; within a folder the order stays."""
    items.sort(key=lambda item: next((at for at, path in enumerate(ORDER) if item.nodeid.startswith(path)), len(ORDER)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Take the lock before the test's time limit begins: shared, or exclusive for a test that must run alone."""
    room = getattr(item.config, "workerinput", {}).get("room")
    if room is None:
        return (yield)
    with _beside(Path(room), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _beside(room: Path, *, alone: bool) -> Iterator[None]:
    """Hold the lock, shared or exclusive; a waiting exclusive test holds the door, so that no test overtakes it."""
    with ExitStack() as door:
        file = door.enter_context((room / "door").open("w"))
        fcntl.flock(file, fcntl.LOCK_EX)
        with (room / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            door.close()
            yield
