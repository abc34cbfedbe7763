"""The queue from the command line: where it is, and a training followed to its end."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.cli import queue
from backend.errors import SamloopError, Unavailable
from backend.settings import Settings
from backend.work.embedded import Valkey

TABLE = "label    objects\nNucleus      387"


def test_the_queue_is_redis_url_else_the_embedded_queue_that_runs_here(tmp_path: Path) -> None:
    def settings(**more: str) -> Settings:
        return Settings.from_env({"SAMLOOP_QUEUE_DIR": str(tmp_path / "queue"), **more})

    assert queue.queue_url(settings(REDIS_URL="redis://queue.example:6379/0")) == "redis://queue.example:6379/0"
    with pytest.raises(Unavailable, match="REDIS_URL is not set and no embedded one runs here; start `samloop up`"):
        queue.queue_url(settings())
    with Valkey(tmp_path / "queue") as valkey:
        assert queue.queue_url(settings()) == valkey.start()


def test_a_training_that_failed_while_it_was_followed_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    failed = SimpleNamespace(phase="failed", progress={}, error="too few images", verdict=None)
    with pytest.raises(SamloopError, match="the training of project 7 failed: too few images"):
        queue._follow(SimpleNamespace(status=lambda _: failed), 7)


def test_whoever_follows_a_queued_training_sees_the_table_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(phase: str, progress: Mapping[str, Any]) -> Any:
        return SimpleNamespace(phase=phase, progress=progress, error=None, verdict={"reason": "it is better"})

    seen = iter(
        [
            status("queued", {}),
            *(status("training", {"epoch": epoch, "table": TABLE}) for epoch in (1, 2)),
            status("idle", {}),
        ]
    )
    monkeypatch.setattr(queue.time, "sleep", lambda _: None)
    queue._follow(SimpleNamespace(status=lambda _: next(seen)), 7)
    told = capsys.readouterr()
    assert told.err.count("Nucleus      387") == 1
    assert told.out == "it is better\n"


@pytest.mark.parametrize(("count", "said"), [(0, True), (1, False)])
def test_whoever_queues_a_training_that_no_worker_will_take_is_told(
    count: int, said: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://queue.example:6379/0")
    monkeypatch.setattr(queue.TrainingQueue, "request", lambda _, project_id: f"train-{project_id}-1")
    monkeypatch.setattr(queue, "workers", lambda _: count)
    queue.train_project(7, wait=False)
    told = capsys.readouterr()
    assert "queued train-7-1" in told.out
    assert ("no worker trains here yet" in told.err) == said
