"""The last refused clicks are those of all servers, the latest first, and a click never waits for them."""

import logging
from collections.abc import Iterator

import pytest
from redis import Redis
from support.waiting import wait_until

from backend.errors import Unavailable
from backend.serving.refusals import Refusals
from backend.work.connection import connect
from backend.work.keys import Keys


@pytest.fixture
def redis(empty_redis_url: str) -> Iterator[Redis]:
    with connect(empty_redis_url) as connection:
        yield connection


def test_the_latest_ten_of_a_project_are_known_to_every_server_for_a_week(redis: Redis) -> None:
    first, second = Refusals(redis), Refusals(redis)
    first.start()
    for task_id in range(12):
        first.note(7, task_id=task_id, reason="x" * 600)
    first.note(8, task_id=None, reason="its image cannot be fetched")
    first.stop()
    first.stop()
    assert [refusal.task_id for refusal in second.last(7)] == list(range(11, 1, -1))
    assert len(second.last(7)[0].reason) == 500
    assert [refusal.reason for refusal in second.last(8)] == ["its image cannot be fetched"]
    assert second.last(9) == ()
    assert 0 < redis.ttl(Keys(7).refusals) <= 7 * 86_400


def test_nothing_is_stored_for_a_project_that_label_studio_does_not_have(redis: Redis) -> None:
    """Fails without the look at whether Label Studio has the project."""
    refusals = Refusals(redis, is_missing=lambda project_id: project_id == 9)
    refusals.start()
    refusals.note(9, task_id=1, reason="made up")
    refusals.note(7, task_id=1, reason="real")
    refusals.stop()
    assert redis.keys("samloop:refusals:*") == [Keys(7).refusals.encode()]


def test_while_redis_is_away_a_click_does_not_wait_and_the_status_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with connect("redis://127.0.0.1:1") as nobody:
        refusals = Refusals(nobody)
        for number in range(300):
            refusals.note(7, task_id=number, reason="nobody writes")
        refusals.start()
        with caplog.at_level(logging.WARNING):
            wait_until(lambda: "a refused click is not remembered" in caplog.text)
        refusals.stop()
        with pytest.raises(Unavailable, match="the last refused clicks are not known"):
            refusals.last(7)
