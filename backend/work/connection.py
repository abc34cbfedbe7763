"""The connection to the queue's Redis, and what its absence means to whoever asked."""

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

# A Redis that is away refuses at once; one whose disk is busy (every write is synced) answers after seconds.
_ANSWER_S = 10.0


def connect(redis_url: str, *, patient: bool = False) -> Redis:
    """A connection to the queue; nothing is sent before it is used.

    Patient ones outlast a Redis that is away for a minute or two (workers: they have all the time); the others fail
    within seconds, so that whoever asked for a training is told that it was not queued.

    Raises:
        SettingsError: an option in the URL that there is not.
    """
    # Two tries at once: a connection that Redis closed while it was idle must not look like a Redis that is away.
    retry = Retry(ExponentialWithJitterBackoff(base=0.1, cap=2), 120) if patient else Retry(NoBackoff(), 1)
    limits = {"socket_connect_timeout": 2, "socket_timeout": None if patient else _ANSWER_S}
    try:
        connection = Redis.from_url(redis_url, retry=retry, protocol=2, **limits)
        connection.connection_pool.make_connection()  # tells of options that there are not; nothing is sent
    except (ValueError, TypeError, RedisError) as fault:
        raise SettingsError(f"REDIS_URL has an option that cannot be used: {fault}") from None
    return connection


@contextmanager
def telling_consequence(consequence: str) -> Iterator[None]:
    """Turn a Redis that is away inside the block into Unavailable, with what that means, such as "nothing was queued".

    Raises:
        Unavailable: Redis did not answer, or lost a job between two questions.
    """
    try:
        yield
    except (RedisError, OSError, NoSuchJobError) as fault:
        log.warning("the queue is away: %s", fault, extra={"event": "queue.away"})
        raise Unavailable(f"the queue does not answer, so {consequence}: is Redis (REDIS_URL) up? Try again") from fault
