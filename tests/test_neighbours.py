"""Of two workers, one waits while the other measures, and none waits for ever."""

import fcntl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.neighbours import ORDER, _beside
from support.waiting import SOON_S

ROOT = Path(__file__).resolve().parents[1]


def test_what_takes_longest_is_named_by_paths_that_are_there_the_narrower_before_the_wider() -> None:
    assert [path for path in ORDER if not (ROOT / path).exists()] == []
    hidden = [later for at, later in enumerate(ORDER) if any(later.startswith(f"{path}/") for path in ORDER[:at])]
    assert hidden == [], "a folder before them takes these along"


def test_tests_run_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=SOON_S)

    def run() -> None:
        with _beside(tmp_path, alone=False):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        assert [job.result() for job in [pool.submit(run), pool.submit(run)]] == [None, None]


def test_who_must_be_alone_waits_for_the_neighbour_and_the_next_ones_wait_for_him(tmp_path: Path) -> None:
    told: list[str] = []
    measuring, measured = threading.Event(), threading.Event()

    def measure() -> None:
        with _beside(tmp_path, alone=True):
            told.append("measuring")
            measuring.set()
            assert measured.wait(SOON_S)
            told.append("measured")

    def next_one() -> None:
        with _beside(tmp_path, alone=False):
            told.append("next")

    with ThreadPoolExecutor(2) as pool:
        with _beside(tmp_path, alone=False):
            alone = pool.submit(measure)
            until_s = time.monotonic() + SOON_S
            while _is_open(tmp_path / "door"):
                assert time.monotonic() < until_s, "nobody waits to be alone"
            after = pool.submit(next_one)
            assert not measuring.wait(0.3)
            told.append("first")
        assert measuring.wait(SOON_S)
        measured.set()
        alone.result(SOON_S)
        after.result(SOON_S)
    assert told == ["first", "measuring", "measured", "next"]


def _is_open(door: Path) -> bool:
    """Whether nobody holds it."""
    if not door.exists():
        return True
    with door.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
