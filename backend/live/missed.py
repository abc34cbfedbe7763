"""Makes up for lost webhooks. Label Studio sends a webhook once and waits a second; nobody repeats a lost webhook.

A look asks Label Studio for the tasks that people annotated since the look before, and for the number of annotations:
two requests for every project in use. It handles an unreported annotation as if its webhook had come: it is compared,
counts towards the next training, and starts one if the project asks for that. A missing webhook is created again.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from redis import Redis

from backend.errors import BadInput, SamloopError
from backend.labelstudio.api.annotations import Annotations
from backend.labelstudio.api.backends import Backends
from backend.labelstudio.payloads import Task
from backend.labelstudio.webhook import AnnotationChange, note_change
from backend.live.deleted import DeletedAnnotations
from backend.live.evaluation import LiveEvaluation
from backend.work.automatic import AutomaticTraining
from backend.work.connection import decode_text, name_consequence, read_clock_s
from backend.work.keys import Keys
from backend.work.queue import TrainingQueue

log = logging.getLogger(__name__)
_LOOKING = "samloop:reconciling"  # held by the server that looks, for most of the time between two looks
_MOST_TASKS = 1000  # of one project in one look; the next look goes on
_WEBHOOK_S = 60.0  # a webhook may still be on its way
_KEEP_S = 7 * 86_400
_DATE = "%Y-%m-%dT%H:%M:%S.%fZ"  # as the data manager reads dates: always with a fraction


class Studio(Protocol):
    """The part of Label Studio's client that is used here."""

    @property
    def annotations(self) -> Annotations:
        """As `LabelStudio.annotations`."""

    @property
    def backends(self) -> Backends:
        """As `LabelStudio.backends`."""

    def list_annotated_since(self, project_id: int, *, after: str, most: int) -> Iterator[Task]:
        """As `LabelStudio.list_annotated_since`."""

    def project(self, project_id: int, *, is_patient: bool = True) -> Mapping[str, object]:
        """As `LabelStudio.project`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWebhook:
    """The backend's address as Label Studio reaches it, and the credentials that callers must send."""

    url: str
    basic_auth: tuple[str, str] | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The last look that found something, `at` (ISO 8601 in UTC).

    `changes` counts the annotations, deleted ones too, that no webhook had reported. `webhook_restored`: the webhook
    was missing, and was created again.
    """

    at: str
    changes: int
    webhook_restored: bool


class MissedChanges:
    """Looks for annotations that no webhook reported. Of any number of servers, one looks at a time.

    Args:
        connection: the queue's Redis, which keeps the date up to which a project's annotations are known.
        projects: the projects in use.
        label_studio: returns the project's Label Studio, None where it is not known.
        live: compares annotations with what we sent.
        automatic: counts changed annotations.
        queue: takes the requests for trainings.
        webhook: created again in projects that lack it.
        every_s: seconds between two looks.
        clock: returns Unix time, s; None: Redis' own.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        connection: Redis,
        *,
        projects: Callable[[], Iterable[int]],
        label_studio: Callable[[int], Studio | None],
        live: LiveEvaluation,
        automatic: AutomaticTraining,
        queue: TrainingQueue,
        webhook: OwnWebhook,
        every_s: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._connection, self._projects, self._label_studio = connection, projects, label_studio
        self._live, self._automatic, self._queue = live, automatic, queue
        self._deleted = DeletedAnnotations(connection, live)
        self._webhook, self._every_s = webhook, every_s
        self._clock = clock or (lambda: read_clock_s(connection))

    def look(self) -> None:
        """Look at every project in use, unless another server has just done so.

        Raises:
            SamloopError: the queue or a Label Studio cannot be reached; every other project was looked at, and
                the next look catches up.
        """
        away = None
        with name_consequence("missed annotations wait"):
            if not self._connection.set(_LOOKING, "1", nx=True, px=max(1, int(900 * self._every_s))):
                return
            now = datetime.fromtimestamp(self._clock(), UTC)
            for project_id in sorted(set(self._projects())):
                try:
                    self._look_at(project_id, now=now)
                except SamloopError as fault:
                    away = away or fault
        if away is not None:
            raise away

    def last(self, project_id: int) -> Missed | None:
        """Return the last look that found something in the project; None if that was over a week ago.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        with name_consequence("what webhooks missed is not known"):
            kept = self._connection.get(Keys(project_id).missed)
        return None if kept is None else Missed(**json.loads(kept))

    def _look_at(self, project_id: int, *, now: datetime) -> None:
        studio, key = self._label_studio(project_id), Keys(project_id).known_until
        if studio is None:
            return
        after = self._connection.get(key)
        known_until = decode_text(after) if after is not None else self._begin(project_id, now=now)
        changes, reached = self._collect(project_id, studio, after=known_until, now=now)
        arriving = {change.annotation_id for change in changes if change.task_id is not None}
        deleted, counted = self._deleted.find(
            project_id, studio.annotations, arriving=arriving, settled=_settle_date(now)
        )
        if changes or deleted:
            self._heal(project_id, changes, deleted, studio=studio, now=now)
        self._deleted.remember(project_id, counted)
        self._connection.set(key, reached)

    def _begin(self, project_id: int, *, now: datetime) -> str:
        """Return the date up to which a project is taken for known at the first look: that of its last training."""
        verdict = self._queue.status(project_id).verdict or {}
        return _write_date(str(verdict.get("at") or "")) or now.strftime(_DATE)

    def _collect(
        self, project_id: int, studio: Studio, *, after: str, now: datetime
    ) -> tuple[list[AnnotationChange], str]:
        """Return the changes that no webhook told of, and the date up to which all are known now."""
        settled, missed, reached = _settle_date(now), list[AnnotationChange](), after
        for task in studio.list_annotated_since(project_id, after=after, most=_MOST_TASKS):
            changed_at = _write_date(str(task.get("updated_at") or ""))
            if changed_at > settled:
                break
            missed += [change for change in _list_changes(task) if not self._live.knows(project_id, change)]
            reached = max(reached, changed_at)
        return missed, reached

    def _heal(
        self,
        project_id: int,
        changed: list[AnnotationChange],
        deleted: list[AnnotationChange],
        *,
        studio: Studio,
        now: datetime,
    ) -> None:
        """Do what the webhooks would have done. What may fail comes first: the next look then does all of it again."""
        trains = studio.project(project_id, is_patient=False).get("start_training_on_annotation_update") is True
        restored, changes = self._restore_webhook(project_id, studio), [*changed, *deleted]
        self._automatic.note(project_id, (change.annotation_id for change in changes))
        if trains and changed:
            self._queue.request(project_id)
        self._live.note_changes(project_id, changes)
        missed = Missed(at=now.isoformat(timespec="seconds"), changes=len(changes), webhook_restored=restored)
        self._connection.set(Keys(project_id).missed, json.dumps(asdict(missed)), ex=_KEEP_S)
        log.warning(
            "no webhook told of %d annotations of project %d%s%s: they count from now on",
            len(changes),
            project_id,
            f", {len(deleted)} of them deleted" if deleted else "",
            "; its webhook was missing, and was created again" if restored else "",
            extra={"event": "webhook.missed", "project_id": project_id},
        )

    def _restore_webhook(self, project_id: int, studio: Studio) -> bool:
        try:
            return studio.backends.restore_webhook(
                project_id, url=self._webhook.url, basic_auth=self._webhook.basic_auth
            )
        except BadInput as fault:
            log.warning("project %d has no webhook: %s", project_id, fault, extra={"event": "webhook.refused"})
            return False


def _list_changes(task: Task) -> Iterator[AnnotationChange]:
    annotations = task.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else []:
        if isinstance(annotation, Mapping):
            change = note_change({"task": task.get("id"), **annotation})
            if change is not None:
                yield change


def _settle_date(now: datetime) -> str:
    """Return the date before which webhooks have arrived, if they arrive at all."""
    return (now - timedelta(seconds=_WEBHOOK_S)).strftime(_DATE)


def _write_date(text: str) -> str:
    """Return an ISO date in UTC as the data manager reads it; "" for anything else."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime(_DATE)
    except ValueError:
        return ""
