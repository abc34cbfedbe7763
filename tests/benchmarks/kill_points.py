"""Kills at every step: of a publisher before every change to a file, of others around every command of the queue.

Part of `make chaos`; a few of the points are a test (tests/integration/test_kill_points.py).
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from fakes.training import KILLED_AT, Lab, count_commands, lab
from support.checkpoints import make_manifest

from backend.ids import VersionName
from backend.registry.checkpoint import verify_weights
from backend.registry.local import LocalRegistry
from backend.work.connection import connect
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

_FILE_STEPS = {"open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def run_until_killed(work: Callable[[], object]) -> bool:
    """Run the work in a process of its own; return whether it was killed.

    Raises:
        AssertionError: it failed by itself.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status in {0, signal.SIGKILL}, f"it ended with status {status}"
    return status == signal.SIGKILL


def kill_publishers(folder: Path) -> tuple[int, list[str]]:
    """Kill a publisher before its first, second, ... step; return how many were killed, and what was wrong after them.

    It stores a version, promotes it, and stores another. The registry, a new one for every step, must stay whole and
    without a gap, and take the next version.
    """
    wrongs, step = [], 0
    while True:
        step += 1
        root = folder / str(step)
        stood = LocalRegistry(root).publish(1, weights=b"stood", manifest=make_manifest()).version
        if not run_until_killed(lambda step=step, root=root: _publish(root, kill_at=step)):  # type: ignore[misc]
            return step - 1, wrongs
        registry = LocalRegistry(root)
        registry.publish(1, weights=b"next", manifest=make_manifest())
        versions = [manifest.version for manifest in registry.versions(1)]
        numbers = [decision.number for decision in registry.history(1)]
        if versions[0] != stood or [VersionName.parse(version).number for version in versions] != list(
            range(1, len(versions) + 1)
        ):
            wrongs.append(f"step {step}: the versions are {versions}")
        if numbers != list(range(1, len(numbers) + 1)):
            wrongs.append(f"step {step}: the decisions are {numbers}")
        for version in versions:
            verify_weights(registry.materialise(version))


def _publish(root: Path, *, kill_at: int) -> None:
    registry, steps = LocalRegistry(root), 0
    inside = os.fsencode(root)

    def hook(event: str, args: Sequence[object]) -> None:
        nonlocal steps
        if event in _FILE_STEPS and any(isinstance(arg, str | bytes | Path) and _is_in(arg, inside) for arg in args):
            steps += 1
            if steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    first = registry.publish(1, weights=os.urandom(100), manifest=make_manifest(), others={"report.html": b"<p>"})
    registry.promote(1, first.version, reason="first")
    registry.publish(1, weights=os.urandom(100), manifest=make_manifest())


def _is_in(path: str | bytes | Path, folder: bytes) -> bool:
    return os.fsencode(path).startswith(folder)


def kill_askers(played: Lab) -> list[int]:
    """Kill a process around every command by which it asks for a training; return its projects, one for every kill.

    Every project is asked for again afterwards: whatever the killed process left behind, a worker must serve that.
    """
    killed: list[int] = []
    for moment in ("before", "after"):
        for number in count(1):
            project_id = len(killed) + 1

            def ask(number: int = number, moment: str = moment, project_id: int = project_id) -> None:
                count_commands(kill_at=f"{number} {moment}")
                with connect(played.url) as connection:
                    TrainingQueue(connection, job_seconds=60).request(project_id)

            if not run_until_killed(ask):
                break
            killed.append(project_id)
            played.queue.request(project_id)
    return killed


def count_unserved(played: Lab, project_ids: Sequence[int]) -> int:
    """How many requests for these projects nobody has served."""
    return sum(
        int(played.connection.get(Keys(project_id).wanted) or 0) - _served(played, project_id)
        for project_id in project_ids
    )


def kill_workers(played: Lab, *, points: Sequence[tuple[int, str]], project_id: int) -> tuple[int, list[str]]:
    """Kill a worker, or its training, around these commands of a job; every request is served by the next worker."""
    killed, wrongs = 0, list[str]()
    for number, moment in points:
        played.queue.request(project_id)
        wanted = int(played.connection.get(Keys(project_id).wanted) or 0)
        with played.worker(burst=True, kill_at=f"{number} {moment}") as worker:
            worker.wait(60)
        killed += (played.folder / KILLED_AT).exists()
        (played.folder / KILLED_AT).unlink(missing_ok=True)
        with played.worker():
            played.until(lambda wanted=wanted: _served(played, project_id) >= wanted, heartbeat_s=3)  # type: ignore[misc]
        if played.overlaps():
            wrongs.append(f"{moment} command {number}: two trainings at once")
    return killed, wrongs


def _served(played: Lab, project_id: int) -> int:
    return int(played.connection.get(Keys(project_id).served) or 0)


def kill_everywhere(folder: Path) -> list[tuple[str, int]]:
    """Kill at every point; return the rows of a table, of which those in bold must be zero."""
    published, wrongs = kill_publishers(folder / "models")
    with lab(folder) as played:
        asking = kill_askers(played)
        with played.worker(seconds=0.01):
            played.until(lambda: count_unserved(played, asking) == 0)
        points = [(number, moment) for number in range(2, 25, 2) for moment in ("before", "after")]
        working, more = kill_workers(played, points=points, project_id=1000)
    return [
        ("publishers killed at a step", published),
        ("processes killed at a command of asking", len(asking)),
        ("workers and trainings killed at a command", working),
        ("**wrong after those kills**", len(wrongs) + len(more)),
    ]
