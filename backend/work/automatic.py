"""Trainings by themselves: after a number of new, changed or deleted annotations, once people pause."""

import logging
from collections.abc import Callable, Iterable

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import Unavailable
from backend.work.connection import read_clock_s
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

log = logging.getLogger(__name__)


class AutomaticTraining:
    """Counts changed annotations in Redis, so that several servers count together and a restart loses no count.

    An annotation counts once until somebody or something requests the next training. Thread-safe.

    Args:
        connection: the queue's Redis.
        queue: takes the requests for trainings.
        train_after: how many changed annotations start a project's training; 0: none does.
        quiet_s: how long annotations must stay unchanged before a training is requested, s.
        clock: returns Unix time, s, which all servers share; None: Redis' own.
    """

    def __init__(
        self,
        connection: Redis,
        *,
        queue: TrainingQueue,
        train_after: Callable[[int], int],
        quiet_s: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._connection, self._queue = connection, queue
        self._train_after, self._quiet_s = train_after, quiet_s
        self._clock = clock or (lambda: read_clock_s(connection))

    def note(self, project_id: int, annotation_ids: Iterable[int]) -> None:
        """Count these annotations of a project. Without Redis they go uncounted, and the webhook succeeds."""
        keys, changed = Keys(project_id), tuple(annotation_ids)
        if not changed:
            return
        try:
            now_s = self._clock()
            with self._connection.pipeline() as pipeline:
                pipeline.sadd(keys.changed, *changed)
                pipeline.set(keys.changed_at, now_s)
                pipeline.execute()
        except RedisError as fault:
            log.warning(
                "%d changed annotations of project %d are not counted: the queue cannot be reached: %s",
                len(changed),
                project_id,
                fault,
                extra={"event": "automatic.uncounted", "project_id": project_id},
            )

    def count_changed(self, project_id: int) -> int:
        """Return how many annotations have changed since the last request for a training.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        try:
            return int(self._connection.scard(Keys(project_id).changed))
        except RedisError as fault:
            raise Unavailable(
                f"the queue does not answer, so changed annotations cannot be counted: {fault}"
            ) from fault

    def enough(self, project_id: int) -> int:
        """Return how many changed annotations start a training; 0: none does."""
        return self._train_after(project_id)

    def look(self) -> None:
        """Request the trainings that are due. At most one training of a project waits.

        Raises:
            Unavailable: Redis cannot be reached; the next look catches up.
        """
        for project_id in self._queue.list_changed_projects():
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
        if not enough or self.count_changed(project_id) < enough:
            return False
        try:
            quiet_s = self._clock() - float(self._connection.get(Keys(project_id).changed_at) or 0)
        except RedisError as fault:
            raise Unavailable(f"the queue cannot be reached; project {project_id} trains later: {fault}") from fault
        return quiet_s >= self._quiet_s and not self._queue.status(project_id).queued
