"""The connection to the queue's Redis, and errors that say what its absence means."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq.exceptions import NoSuchJobError

from backend.errors import SettingsError, Unavailable

log = logging.getLogger(__name__)

# A Redis that is down refuses at once. A Redis with a busy disk (every write is synced) answers after seconds.
_ANSWER_S = 10.0


def connect(redis_url: str, *, patient: bool = False) -> Redis:
    """Make a connection to the queue, without sending anything yet.

    A patient connection, for workers, outlasts a Redis that is down for a minute or two. Any other connection fails
    within seconds, so that a request for a training soon learns that nothing was queued.

    Raises:
        SettingsError: the URL has an unknown option.
    """
    # Retry once, at once: a connection that Redis closed while it was idle must not look like a Redis that is down.
    retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=2), 120) if patient else Retry(NoBackoff(), 1)
    limits = {"socket_connect_timeout": 2, "socket_timeout": None if patient else _ANSWER_S}
    try:
        connection = Redis.from_url(redis_url, retry=retry, protocol=2, **limits)
        connection.connection_pool.make_connection()  # raises for unknown options; sends nothing
    except (ValueError, TypeError, RedisError) as fault:
        raise SettingsError(f"REDIS_URL has an option that cannot be used: {fault}") from None
    return connection


@contextmanager
def name_consequence(consequence: str) -> Iterator[None]:
    """Turn Redis' absence inside the block into Unavailable that names the consequence, such as "nothing was queued".

    Raises:
        Unavailable: Redis did not answer, or lost a job between two commands.
    """
    try:
        yield
    except (RedisError, OSError, NoSuchJobError) as fault:
        log.warning("the queue cannot be reached: %s", fault, extra={"event": "queue.away"})
        raise Unavailable(f"the queue does not answer, so {consequence}: is Redis (REDIS_URL) up? Try again") from fault


def read_clock_s(connection: Redis) -> float:
    """Return Unix time by Redis' clock, s: the same for all servers and workers, whose own clocks may differ.

    Raises:
        redis.exceptions.RedisError: Redis cannot be reached.
    """
    seconds, microseconds = connection.time()
    return int(seconds) + int(microseconds) / 1_000_000


def decode_text(value: bytes | str) -> str:
    """Decode Redis' answer as text."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
