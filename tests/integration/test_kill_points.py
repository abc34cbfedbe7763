"""Kills at every step, as `make chaos` does them at all steps: nothing acknowledged is lost, nothing is left half."""

from pathlib import Path

import pytest
from benchmarks.kill_points import count_unserved, kill_askers, kill_publishers, kill_workers
from fakes.training import lab


def test_a_publisher_that_is_killed_before_any_change_to_a_file_leaves_a_whole_registry(tmp_path: Path) -> None:
    """Fails where an object gets its name before it is complete, or a pointer is written in place."""
    killed, wrongs = kill_publishers(tmp_path / "models")
    assert wrongs == []
    assert killed > 30


def test_who_is_killed_around_any_command_of_asking_stands_in_nobodys_way(tmp_path: Path) -> None:
    """Fails without the sweep, and without the look at whether the waiting job can still be seen to wait (ask.lua)."""
    with lab(tmp_path) as played:
        killed = kill_askers(played)
        assert len(killed) > 10
        with played.worker(seconds=0.01):
            played.until(lambda: count_unserved(played, killed) == 0)


def test_a_worker_that_is_killed_around_a_command_loses_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails without the sweep of what lies between the queue and its start."""
    monkeypatch.setenv("HASTY", "1")
    with lab(tmp_path) as played:
        killed, wrongs = kill_workers(played, points=((8, "after"), (14, "before"), (20, "after")), project_id=7)
        assert wrongs == []
        assert killed == 3


def test_workers_whose_clocks_are_an_hour_off_train_once_and_nothing_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where the sweep compares the worker's clock with its own."""
    monkeypatch.setenv("HASTY", "1")
    with lab(tmp_path) as played, played.worker(seconds=6, skew_s=-3600), played.worker(seconds=6, skew_s=3600):
        for project_id in (7, 8):
            played.queue.request(project_id)
        played.until(lambda: len(played.journal("end")) == 2, heartbeat_s=3)
        played.until(lambda: {played.queue.status(project_id).phase for project_id in (7, 8)} == {"idle"})
    assert len(played.journal("begin")) == 2
    assert played.overlaps() == []
