"""A Redis that cannot be reached is told at once, with what that means."""

import time
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as Away
from redis.exceptions import ResponseError

from backend.errors import SettingsError, Unavailable
from backend.work.connection import connect, name_consequence, read_clock_s
from backend.work.embedded import Valkey


@pytest.mark.parametrize("fault", [Away("no"), ResponseError("OOM"), OSError("no"), TimeoutError("no")])
def test_a_queue_that_does_not_answer_says_what_follows(fault: Exception) -> None:
    said = "the queue does not answer, so nothing was queued: is Redis"
    with pytest.raises(Unavailable, match=said), name_consequence("nothing was queued"):
        raise fault


def test_a_bug_is_not_taken_for_a_queue_that_is_away() -> None:
    with pytest.raises(KeyError), name_consequence("nothing was queued"):
        raise KeyError("a bug")


def test_the_time_is_that_of_redis_and_no_machine_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Valkey(tmp_path / "queue") as valkey, connect(valkey.start()) as connection:
        seconds, _ = connection.time()
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert 0 <= read_clock_s(connection) - seconds < 60


def test_nothing_is_sent_before_it_is_used() -> None:
    """Nothing listens there."""
    connection = connect("redis://127.0.0.1:1")
    with pytest.raises(Away):
        connection.ping()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1?no_such_option=1", "http://x", "redis://127.0.0.1:1?db=x"])
def test_an_option_that_there_is_not_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL has an option that cannot be used"):
        connect(url)
