"""Remembers each project's last refused clicks, because Label Studio shows annotators nothing about them.

All servers share them through the queue's Redis, where a thread writes them: a click waits for no Redis.
"""

import json
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import RedisError

from backend.work.connection import name_consequence
from backend.work.keys import Keys

log = logging.getLogger(__name__)
_MOST_OF_A_PROJECT, _LONGEST = 10, 500
_MOST_WAITING = 100  # refusals that are not written yet
_KEEP_S = 7 * 86_400
_LONGEST_STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refused click: when (ISO 8601, UTC), on which task (None if the request named none), and why."""

    at: str
    task_id: int | None
    reason: str


class Refusals:
    """The last ten refusals of a project within a week, of all servers. Safe for any number of threads.

    Args:
        connection: the queue's Redis.
        is_missing: returns whether Label Studio has no such project; nothing is stored for a missing project.
    """

    def __init__(self, connection: Redis, *, is_missing: Callable[[int], bool] = lambda _: False) -> None:
        self._connection, self._is_missing = connection, is_missing
        self._noted: queue.Queue[tuple[int, Refusal] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._write, name="refusals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End once what was noted is written, or after some seconds. Harmless when repeated."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with suppress(queue.Full):
                self._noted.put(None, timeout=_LONGEST_STOP_S)
            thread.join(_LONGEST_STOP_S)

    def note(self, project_id: int, *, task_id: int | None, reason: str) -> None:
        """Remember a refused click, without waiting. The reason is cut after 500 characters.

        Of more refusals than can be written, those that come last are lost.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(queue.Full):
            self._noted.put_nowait((project_id, Refusal(at=at, task_id=task_id, reason=reason[:_LONGEST])))

    def last(self, project_id: int) -> tuple[Refusal, ...]:
        """Return the project's last refusals, the latest first.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with name_consequence("the last refused clicks are not known"):
            rows = self._connection.lrange(Keys(project_id).refusals, 0, -1)
        return tuple(Refusal(**json.loads(row)) for row in rows)

    def _write(self) -> None:
        while (noted := self._noted.get()) is not None:
            project_id, refusal = noted
            try:
                if not self._is_missing(project_id):
                    self._push(Keys(project_id).refusals, refusal)
            except RedisError as fault:
                log.warning("a refused click is not remembered: %s", fault, extra={"event": "refusals.unwritten"})
            except Exception:  # a bug costs this refusal, but none after it
                log.exception("a refused click is not remembered", extra={"event": "refusals.unwritten"})

    def _push(self, key: str, refusal: Refusal) -> None:
        with self._connection.pipeline() as pipeline:
            pipeline.lpush(key, json.dumps(asdict(refusal)))
            pipeline.ltrim(key, 0, _MOST_OF_A_PROJECT - 1)
            pipeline.expire(key, _KEEP_S)
            pipeline.execute()
