"""What `samloop doctor` finds, beside what tests of other commands see of it."""

from pathlib import Path

import pytest

from backend.cli import machine
from backend.errors import SettingsError, Unavailable
from backend.settings import Settings
from backend.work import queue as training

QUEUE = Settings(redis_url="redis://queue.example:6379/0")


def test_a_misspelt_variable_is_wrong_and_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMLOOP_TRAIN_SECONS", "60")
    with pytest.raises(SettingsError, match=r"SAMLOOP_TRAIN_SECONS is not a setting.*did you mean SAMLOOP_TRAIN_S"):
        machine._settings()


@pytest.mark.parametrize("kind", ["refreshes", "queue"])
def test_a_queue_without_a_worker_of_either_kind_is_told_with_the_command(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = {"refreshes": machine._refreshes, "queue": machine._queue}[kind]
    listening = {"refresh": 2, "train": 1}
    monkeypatch.setattr(training, "count_listeners", lambda _, work=training.TRAINING: listening[work.kind])
    assert ("2 workers listen" if kind == "refreshes" else "1 worker listens") in check(QUEUE)
    listening["refresh" if kind == "refreshes" else "train"] = 0
    command = "samloop worker --refresh" if kind == "refreshes" else "samloop worker"
    with pytest.raises(Unavailable, match=f"start `{command}`"):
        check(QUEUE)


def test_no_worker_is_missed_where_nothing_is_refreshed() -> None:
    assert machine._refreshes(Settings(refresh=False)) == "switched off (SAMLOOP_REFRESH)"


def test_weights_lists_every_base_with_its_size_licence_and_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAMLOOP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(machine.out, "width", 200)
    (tmp_path / "weights" / "my-sam").mkdir(parents=True)
    (tmp_path / "weights" / "my-sam" / "config.json").write_text("{}")
    with machine.out.capture() as printed:
        machine.weights()
    lines = printed.get().splitlines()
    (large,) = (line for line in lines if "sam2.1-large" in line)
    assert [cell.strip() for cell in large.split("│")[1:-1]] == [
        "sam2.1-large",
        "217 million",
        "Apache 2.0",
        "no",
        "Hugging Face facebook/sam2.1-hiera-large",
    ]
    (mine,) = (line for line in lines if "my-sam" in line)
    assert "yes" in mine
    assert str(tmp_path / "weights") in lines[-1]
