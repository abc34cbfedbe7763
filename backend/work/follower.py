"""Asks for refreshes, on request and after every promotion, by the dotted name "finetuner.refreshing.run"."""

import logging

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.protocol import Registry
from backend.work.jobs import REFRESHES
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

log = logging.getLogger(__name__)

# 100,000 tasks at a second a task take 28 hours. A backend or Label Studio that hangs is noticed long before
# (backend.refresh.rules.Rules.patience_s).
_JOB_SECONDS = 30 * 86_400


def refresh_queue(connection: Redis) -> TrainingQueue:
    """Return the queue that takes requests for refreshes."""
    return TrainingQueue(connection, job_seconds=_JOB_SECONDS, work=REFRESHES)


class Follower:
    """Requests a refresh after every decision in the registry, whether a training or a person made it.

    Redis keeps the latest decision that was followed. So a server that was down catches up, and a restarted server
    requests nothing twice. Several servers request the same refresh, and the requests coalesce.
    """

    def __init__(self, registry: Registry, connection: Redis, *, queue: TrainingQueue) -> None:
        self._registry, self._connection, self._queue = registry, connection, queue
        self._followed: dict[int, int] = {}

    def look(self) -> None:
        """Request a refresh for every project with a new decision.

        Raises:
            Unavailable, BadCheckpoint: Redis cannot be reached, or a project's decisions cannot be read. Every other
                project was looked at, and the next look catches up.
        """
        away = None
        for project_id in self._registry.projects():
            try:
                self._look_at(project_id)
            except (Unavailable, BadCheckpoint) as fault:
                away = fault
        if away is not None:
            raise away

    def _look_at(self, project_id: int) -> None:
        pointer = self._registry.champion(project_id)
        if pointer is None or self._followed.get(project_id, 0) >= pointer.number:
            return
        key = Keys(project_id, "refresh").followed
        try:
            if int(self._connection.get(key) or 0) < pointer.number:
                self._queue.request(project_id)
                self._connection.set(key, pointer.number)
        except RedisError as fault:
            raise Unavailable(
                f"the queue cannot be reached; project {project_id} is refreshed later: {fault}"
            ) from fault
        self._followed[project_id] = pointer.number
