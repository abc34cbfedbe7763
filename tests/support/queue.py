"""A real queue without a job, one Valkey for the tests of a file; and a queue that is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from backend.work.connection import connect
from backend.work.embedded import Valkey


def connect_to_nobody(folder: Path) -> Redis:
    """Return a connection as a server's own, to a queue that is away: nobody listens on a socket in the folder."""
    return connect(f"unix://{folder / 'nobody.sock'}")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the file's queue, which its tests share."""
    with Valkey(tmp_path_factory.mktemp("queue")) as valkey:
        yield valkey.start()


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    """The address of the file's queue, emptied before the test."""
    with Redis.from_url(redis_url) as connection:
        connection.flushall()
    return redis_url
