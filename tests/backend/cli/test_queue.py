"""The queue from the command line: where it is, and a training followed to its end."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from backend.__main__ import app
from backend.cli import queue
from backend.errors import SamloopError, Unavailable
from backend.settings import Settings
from backend.work.embedded import Valkey
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue
from backend.work.rq_internals import write_meta
from backend.work.status import TrainingStatus, fetch_jobs

TABLE = "label    objects\nNucleus      387"


def test_the_queue_is_redis_url_else_the_embedded_queue_that_runs_here(tmp_path: Path) -> None:
    def settings(**more: str) -> Settings:
        return Settings.from_env({"SAMLOOP_QUEUE_DIR": str(tmp_path / "queue"), **more})

    assert queue.queue_url(settings(REDIS_URL="redis://queue.example:6379/0")) == "redis://queue.example:6379/0"
    with pytest.raises(Unavailable, match="REDIS_URL is not set and no embedded queue runs here; start `samloop up`"):
        queue.queue_url(settings())
    with Valkey(tmp_path / "queue") as valkey:
        assert queue.queue_url(settings()) == valkey.start()


def test_a_training_that_failed_while_it_was_followed_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    failed = TrainingStatus(phase="failed", error="too few images")
    with pytest.raises(SamloopError, match="the training of project 7 failed: too few images"):
        queue._follow(SimpleNamespace(status=lambda _: failed), 7)


def test_whoever_follows_a_queued_training_sees_the_table_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(phase: Any, progress: Mapping[str, Any]) -> Any:
        verdict = {"version": "tiny-p7-v1-000000", "promoted": True, "reason": "it is better"}
        return TrainingStatus(phase=phase, progress=progress, verdict=verdict)

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
    assert told.out.splitlines() == [
        "promoted: tiny-p7-v1-000000, it is better",
        "report and masks: /review/7 on the backend",
    ]


def test_a_training_that_was_cancelled_while_it_was_followed_is_an_error() -> None:
    cancelled = TrainingStatus(phase="idle", cancelled="2026-01-01T00:00:00+00:00")
    with pytest.raises(SamloopError, match="the training of project 7 was cancelled"):
        queue._follow(SimpleNamespace(status=lambda _: cancelled), 7)


def test_the_line_of_a_training_tells_its_share_and_the_time_left() -> None:
    training = TrainingStatus(phase="training", progress={"phase": "training", "share": 0.25, "left_s": 45.0})
    assert queue._words(training) == "training, 25%, 45 s left"


@pytest.mark.parametrize(("count", "said"), [(0, True), (1, False)])
def test_whoever_queues_a_training_that_no_worker_will_take_is_told(
    count: int, said: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://queue.example:6379/0")
    monkeypatch.setattr(TrainingQueue, "request", lambda _, project_id: f"train-{project_id}-1")
    monkeypatch.setattr("backend.work.queue.count_listeners", lambda _: count)
    queue.train_project(7, wait=False)
    told = capsys.readouterr()
    assert "queued train-7-1" in told.out
    assert ("no worker trains here yet" in told.err) == said


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """The queue that the commands find."""
    with Valkey(tmp_path / "queue") as valkey:
        monkeypatch.setenv("REDIS_URL", url := valkey.start())
        monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
        with Redis.from_url(url) as connection:
            yield connection


def test_status_tells_a_project_from_the_served_version_to_the_last_verdict(redis: Redis) -> None:
    trainings = TrainingQueue(redis, job_seconds=60)
    (job,) = fetch_jobs(redis, trainings.request(7))
    assert job is not None
    job.set_status("started")
    write_meta(redis, job, {"progress": {"phase": "training", "epoch": 2, "share": 0.25, "left_s": 300.0}})
    last = {"version": "tiny-p7-v1-000000", "promoted": True, "reason": "it is better"}
    redis.hset(Keys(7).last, mapping={"verdict": json.dumps(last)})

    told = json.loads(CliRunner().invoke(app, ["status", "--project", "7", "--json"]).stdout)

    assert (told["project"], told["phase"], told["share"], told["left_s"]) == (7, "training", 0.25, 300.0)
    assert told["served"] == {"version": None, "number": 0, "since": None}
    assert (told["queue"], told["verdict"]) == ({"queued": 0, "workers": 0}, last)
    assert CliRunner().invoke(app, ["status"]).stdout.splitlines() == [
        "project 7",
        "  served    the base model",
        "  training  training: epoch 2, 25%, 5 min left",
        "  queue     0 waiting, no worker",
        "  verdict   promoted: tiny-p7-v1-000000, it is better",
    ]


def test_status_of_a_machine_without_projects_says_so(redis: Redis) -> None:
    assert CliRunner().invoke(app, ["status"]).stdout == "no project has requested a training yet\n"
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout) == {"projects": []}


def test_cancel_tells_whether_there_was_anything_to_end(redis: Redis) -> None:
    TrainingQueue(redis, job_seconds=60).request(7)
    first, second = (CliRunner().invoke(app, ["cancel", "--project", "7"]).stdout for _ in range(2))
    assert first == "the training of project 7 is ending\n"
    assert second == "the training of project 7 was neither waiting nor running\n"


def test_the_verdict_on_a_version_that_a_person_promoted_does_not_say_that_it_is_not_served() -> None:
    verdict = {"version": "mobile-sam-p7-v1-0a1b2c", "promoted": False, "reason": "no certain gain"}
    assert queue.verdict_line(verdict, served="mobile-sam-p7-v1-0a1b2c").startswith(
        "not promoted by itself, but by a person"
    )
    assert queue.verdict_line(verdict, served="mobile-sam").startswith("not promoted: mobile-sam-p7-v1-0a1b2c")
