"""What Label Studio tells us happened: START_TRAINING and the events of a project."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import BadInput
from backend.ids import parse_label_studio_project

_ACTION = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)

TRAINING_ACTIONS = frozenset({"START_TRAINING"})
ANNOTATION_ACTIONS = frozenset(
    {"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"}
)


@dataclass(frozen=True, slots=True)
class Event:
    """One call of the webhook. An unknown `action` is kept as it is; `project_id` is None where it has none."""

    action: str
    project_id: int | None = None

    @property
    def starts_training(self) -> bool:
        """True where Label Studio asks for a training now."""
        return self.action in TRAINING_ACTIONS

    @property
    def changes_annotations(self) -> bool:
        """True where there may be something new to learn from."""
        return self.action in ANNOTATION_ACTIONS


def parse_event(body: object) -> Event:
    """Read the body of a webhook.

    Raises:
        BadInput: no object, no action, or a project that has no usable id.
    """
    if not isinstance(body, Mapping):
        raise BadInput(f"the webhook's body is {type(body).__name__}, not an object with an action")
    action = body.get("action")
    if not isinstance(action, str) or not _ACTION.fullmatch(action):
        raise BadInput(f"the webhook's action is {_shorten(action)}; Label Studio sends words like START_TRAINING")
    project = body.get("project")
    if isinstance(project, Mapping):
        project = project.get("id")
    return Event(action, None if project is None else parse_label_studio_project(project))


@dataclass(frozen=True, slots=True)
class AnnotationChange:
    """An annotation was submitted or changed `at` (Label Studio's `updated_at`), or, without a task, is gone."""

    annotation_id: int
    task_id: int | None
    at: str = ""


def annotation_changes(body: Mapping[str, Any]) -> tuple[AnnotationChange, ...]:
    """Which annotations the body of an event is about; rows that say neither which nor of which task are left out."""
    action = body.get("action")
    if action not in ANNOTATION_ACTIONS:
        return ()
    told = body.get("annotations") if action == "ANNOTATIONS_DELETED" else body.get("annotation")
    rows = [row for row in (told if isinstance(told, list) else [told]) if isinstance(row, Mapping)]
    changes = (note_change(row, is_gone=action == "ANNOTATIONS_DELETED") for row in rows)
    return tuple(change for change in changes if change is not None)


def note_change(row: Mapping[str, Any], *, is_gone: bool = False) -> AnnotationChange | None:
    """What an annotation's row tells; None where it says neither which annotation it is nor of which task.

    Args:
        row: Label Studio's annotation.
        is_gone: whether the annotation was deleted; a skipped one is gone too.
    """
    annotation_id, task_id = (_number(row, key) for key in ("id", "task"))
    if annotation_id is None:
        return None
    if is_gone or row.get("was_cancelled") is True:
        return AnnotationChange(annotation_id, None)
    return None if task_id is None else AnnotationChange(annotation_id, task_id, str(row.get("updated_at") or "")[:40])


def _number(row: object, key: str) -> int | None:
    value = row.get(key) if isinstance(row, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None


def _shorten(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__
