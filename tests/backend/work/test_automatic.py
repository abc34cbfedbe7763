"""A project trains by itself after enough changed annotations, once people pause, and never twice for the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from backend.errors import Unavailable
from backend.work.automatic import AutomaticTraining
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

ENOUGH = {7: 3, 8: 1, 9: 0}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        yield connection


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def automatic_of(redis: Redis, clock: Clock) -> AutomaticTraining:
    queue = TrainingQueue(redis, job_seconds=60)
    return AutomaticTraining(
        redis, queue=queue, train_after=lambda project_id: ENOUGH.get(project_id, 0), quiet_s=30, clock=clock
    )


def wanted(redis: Redis, project_id: int) -> int:
    return int(redis.get(Keys(project_id).wanted) or 0)


def test_enough_changed_annotations_start_one_training_after_a_pause(redis: Redis) -> None:
    """Fails without the quiet time: the training would begin while people still submit."""
    clock = Clock()
    automatic, elsewhere = automatic_of(redis, clock), automatic_of(redis, clock)
    automatic.note(7, [1])
    automatic.note(7, [1, 2])
    clock.now += 100
    automatic.look()
    assert (wanted(redis, 7), automatic.count_changed(7)) == (0, 2), "the same annotation counts once"
    elsewhere.note(7, [3])
    clock.now += 29
    automatic.look()
    assert wanted(redis, 7) == 0, "people still annotate"
    clock.now += 1
    automatic.look()
    elsewhere.look()
    assert (wanted(redis, 7), automatic.count_changed(7)) == (1, 0)


def test_while_one_waits_no_further_training_is_asked_for_and_nothing_is_forgotten(redis: Redis) -> None:
    """Fails without the look at what waits: changes would be forgotten before the training that learns from them."""
    clock = Clock()
    automatic = automatic_of(redis, clock)
    TrainingQueue(redis, job_seconds=60).request(8)
    automatic.note(8, [5])
    clock.now += 60
    automatic.look()
    assert (wanted(redis, 8), automatic.count_changed(8)) == (1, 1)
    TrainingQueue(redis, job_seconds=60).cancel(8)
    automatic.look()
    assert (wanted(redis, 8), automatic.count_changed(8)) == (2, 0)


def test_a_training_that_somebody_asks_for_begins_the_count_again(redis: Redis) -> None:
    automatic = automatic_of(redis, Clock())
    automatic.note(7, [1, 2])
    TrainingQueue(redis, job_seconds=60).request(7)
    assert automatic.count_changed(7) == 0


def test_a_project_without_a_number_never_trains_by_itself(redis: Redis) -> None:
    clock = Clock()
    automatic = automatic_of(redis, clock)
    automatic.note(9, range(100))
    clock.now += 1e6
    automatic.look()
    assert (wanted(redis, 9), automatic.count_changed(9)) == (0, 100)


def test_a_queue_that_is_away_costs_the_count_and_never_the_webhook(caplog: pytest.LogCaptureFixture) -> None:
    automatic = automatic_of(connect("redis://127.0.0.1:1"), Clock())
    automatic.note(7, [1])
    assert "1 changed annotations of project 7 are not counted" in caplog.text
    with pytest.raises(Unavailable):
        automatic.look()
