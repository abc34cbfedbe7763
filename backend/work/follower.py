"""Refreshes on request, and after every promotion: RQ, by the dotted name "finetuner.refreshing.run"."""

import logging

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.protocol import Registry
from backend.work.jobs import REFRESHES
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

log = logging.getLogger(__name__)

# 100,000 tasks at a second a task are 28 hours, and whoever waits for more can cancel it: an end that hangs is noticed
# long before (backend.refresh.walk.Rules.patience_s).
_JOB_SECONDS = 30 * 86_400


def refresh_queue(connection: Redis) -> TrainingQueue:
    """Where refreshes are asked for."""
    return TrainingQueue(connection, job_seconds=_JOB_SECONDS, work=REFRESHES)


class Follower:
    """Asks for a refresh after every decision of the registry, whoever made it: a training, a person, a rollback.

    What it followed is kept in Redis, so that a server that was away catches up, and one that starts again asks for
    nothing twice; several servers at once ask for the same, which coalesces.
    """

    def __init__(self, registry: Registry, connection: Redis, *, queue: TrainingQueue) -> None:
        self._registry, self._connection, self._queue = registry, connection, queue
        self._followed: dict[int, int] = {}

    def look(self) -> None:
        """Ask where there is a new decision.

        Raises:
            Unavailable, BadCheckpoint: Redis is away, or what the registry says of a project cannot be read; all others
                were looked at, and the next look makes up for it.
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
            raise Unavailable(f"the queue is away; project {project_id} is refreshed later: {fault}") from fault
        self._followed[project_id] = pointer.number
