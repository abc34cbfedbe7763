"""kill -9 of every process there is: the training starts again and ends once, and no request is lost."""

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.training import Lab, alive, kill, lab

from backend.errors import Unavailable
from backend.work.connection import connect
from backend.work.jobs import HEARTBEAT_S
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def test_kill_9_of_the_work_horse(played: Lab) -> None:
    """Its worker sees it at once, not by the silence after which a worker counts as dead: it runs again, and ends."""
    played.queue.request(7)
    with played.worker(seconds=600):
        kill(played.horse(7))
        killed_at = time.monotonic()
        played.until(lambda: len(played.journal("begin", 7)) == 2)
        played.finish()
        played.until(lambda: len(played.journal("end", 7)) == 1)
        played.until(lambda: played.queue.status(7).phase == "idle")
    begins = played.journal("begin", 7)
    assert len(begins) == 2
    assert begins[1]["at"] - killed_at < HEARTBEAT_S
    assert played.overlaps() == []


def test_a_training_whose_process_is_killed_every_time_is_given_up_and_does_not_block_the_next(played: Lab) -> None:
    """As the system does where memory is too short for it: eleven tries would take as many times as long."""
    job_id = played.queue.request(7)
    with played.worker(seconds=600):
        for tries in range(1, 6):
            played.until(lambda tries=tries: len(played.journal("begin", 7)) == tries)
            kill(played.horse(7))
        played.until(lambda: played.queue.status(7).phase == "failed")
        played.queue.request(8)
        played.until(lambda: len(played.journal("begin", 8)) == 1)
    reason = played.queue.status(7).error
    assert reason is not None
    assert reason.startswith("its process was killed again and again (signal 9), as the system does where memory runs")
    assert (played.queue.job(job_id) or {})["error"] == reason
    assert len(played.journal("begin", 7)) == 5


def test_kill_9_of_the_worker_and_of_worker_and_horse(played: Lab) -> None:
    """Nobody is left to tell: the silence is noticed, with a worker that waits and one that comes later."""
    with played.worker(seconds=600) as first, played.worker(seconds=600) as second:
        played.queue.request(7)
        played.queue.request(8)
        horses = {project: played.horse(project) for project in (7, 8)}
        # Which worker has which training is not ours to choose: one is killed alone, the other with its horse.
        parents = {pid: parent_of(pid) for pid in horses.values()}
        assert set(parents.values()) == {first.pid, second.pid}
        kill(parents[horses[7]])
        kill(parents[horses[8]])
        with contextlib.suppress(ProcessLookupError):
            kill(horses[8])
        killed_at = time.monotonic()
        played.until(lambda: not any(alive(pid) for pid in horses.values()))
        with played.worker(seconds=2), played.worker(seconds=2):
            played.until(lambda: len(played.journal("end")) == 2)
    for project in (7, 8):
        begins = played.journal("begin", project)
        assert len(begins) == 2
        assert begins[1]["at"] - killed_at < 60
        assert len(played.journal("end", project)) == 1
    assert played.overlaps() == []


def test_kill_9_of_valkey_while_one_trains_and_others_wait(played: Lab) -> None:
    """The training does not notice; what waited is trained after it."""
    for project in (7, 8, 9):
        played.queue.request(project)
    with played.worker(seconds=600):
        played.horse(7)
        played.take_queue_away(calls=2)
        played.server.start()
        played.finish()
        played.until(lambda: len(played.journal("end")) == 3)
    assert [line["project"] for line in played.journal("begin")] == [7, 8, 9]
    assert played.overlaps() == []


@pytest.mark.parametrize("seed", [4])
def test_random_kills_lose_no_request_and_never_train_a_project_twice_at_once(
    played: Lab, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, three projects, a kill a second for a while; what was acknowledged is served in the end.

    Trainings take longer than it takes to notice a dead worker: one that outlived its worker would overlap.
    """
    monkeypatch.setenv("HASTY", "1")
    rng, wanted, kills = random.Random(seed), dict.fromkeys((7, 8, 9), 0), 0
    with contextlib.ExitStack() as stack:

        def hire() -> subprocess.Popen[bytes]:
            return stack.enter_context(played.worker(seconds=5))

        staff, end = [hire(), hire()], time.monotonic() + 15
        queue = TrainingQueue(stack.enter_context(connect(played.url)), job_seconds=60)
        next_kill = time.monotonic() + 1
        while time.monotonic() < end or kills <= 8 or min(wanted.values()) <= 5:
            with contextlib.suppress(Unavailable):
                project = rng.choice(sorted(wanted))
                queue.request(project)
                wanted[project] += 1
            if time.monotonic() > next_kill:
                next_kill, kills = time.monotonic() + rng.uniform(0.5, 1.5), kills + 1
                _kill_one(played, staff, rng)
                staff = [worker if worker.poll() is None else hire() for worker in staff]
                played.server.start()
            time.sleep(0.15)
        played.until(lambda: all(_served(played, project) for project in wanted), heartbeat_s=3)
        played.until(lambda: all(queue.status(project).phase == "idle" for project in wanted), heartbeat_s=3)
    for project, count in wanted.items():
        assert int(played.connection.get(Keys(project).served) or 0) >= count
    assert played.overlaps() == []


def parent_of(pid: int) -> int:
    """Process id of its parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _served(played: Lab, project: int) -> bool:
    keys = Keys(project)
    return int(played.connection.get(keys.served) or 0) >= int(played.connection.get(keys.wanted) or 0)


def _kill_one(played: Lab, staff: list[subprocess.Popen[bytes]], rng: random.Random) -> None:
    """A work horse, a worker, a worker and a horse, or the server."""
    begun = played.journal("begin")
    horses = [line["pid"] for line in begun[-4:] if alive(line["pid"])]
    victim = rng.choice(["horse", "horse", "worker", "both", "server"])
    if victim in {"worker", "both"}:
        rng.choice(staff).kill()
    if victim in {"horse", "both"} and horses:
        with contextlib.suppress(ProcessLookupError):
            kill(rng.choice(horses))
    if victim == "server" and played.server.pid:
        played.take_queue_away(calls=1)
    for worker in staff:
        if victim in {"worker", "both"}:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(0.1)
