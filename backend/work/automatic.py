"""Trainings that nobody asks for: after so many new, changed or deleted annotations, once people pause."""

import logging
import time
from collections.abc import Callable, Iterable

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import Unavailable
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

log = logging.getLogger(__name__)


class AutomaticTraining:
    """Counts changed annotations in Redis, so that any number of servers count together and a restart forgets none.

    An annotation counts once until the next training is asked for, by whomever. Thread-safe.

    Args:
        connection: the queue's Redis.
        queue: where trainings are asked for.
        train_after: by project, how many changed annotations are enough; 0: it never trains by itself.
        quiet_s: how long nothing may have changed before a training is asked for, s.
        clock: tells the time of day in seconds, which several servers share.
    """

    def __init__(
        self,
        connection: Redis,
        *,
        queue: TrainingQueue,
        train_after: Callable[[int], int],
        quiet_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection, self._queue = connection, queue
        self._train_after, self._quiet_s, self._clock = train_after, quiet_s, clock

    def note(self, project_id: int, annotation_ids: Iterable[int]) -> None:
        """Count these annotations of a project. A queue that is away costs the count, never the webhook's answer."""
        keys, changed = Keys(project_id), tuple(annotation_ids)
        if not changed:
            return
        try:
            with self._connection.pipeline() as pipeline:
                pipeline.sadd(keys.changed, *changed)
                pipeline.set(keys.changed_at, self._clock())
                pipeline.execute()
        except RedisError as fault:
            log.warning(
                "%d changed annotations of project %d are not counted: the queue is away: %s",
                len(changed),
                project_id,
                fault,
                extra={"event": "automatic.uncounted", "project_id": project_id},
            )

    def changed(self, project_id: int) -> int:
        """How many annotations have changed since a training was asked for.

        Raises:
            Unavailable: Redis is away.
        """
        try:
            return int(self._connection.scard(Keys(project_id).changed))
        except RedisError as fault:
            raise Unavailable(f"the queue does not answer, so changed annotations are not known: {fault}") from fault

    def enough(self, project_id: int) -> int:
        """How many changed annotations start a training; 0: none does."""
        return self._train_after(project_id)

    def look(self) -> None:
        """Ask for the trainings that are due; at most one of a project waits.

        Raises:
            Unavailable: Redis is away; the next look makes up for it.
        """
        for project_id in self._queue.changed_projects():
            if self._is_due(project_id):
                job_id = self._queue.request(project_id)
                log.info(
                    "project %d trains by itself: %s",
                    project_id,
                    job_id,
                    extra={"event": "automatic.requested", "project_id": project_id, "job_id": job_id},
                )

    def _is_due(self, project_id: int) -> bool:
        enough = self.enough(project_id)
        if not enough or self.changed(project_id) < enough:
            return False
        try:
            changed_s = float(self._connection.get(Keys(project_id).changed_at) or 0)
        except RedisError as fault:
            raise Unavailable(f"the queue is away; project {project_id} trains later: {fault}") from fault
        return self._clock() - changed_s >= self._quiet_s and not self._queue.status(project_id).queued
