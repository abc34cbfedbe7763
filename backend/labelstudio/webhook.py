"""Reads the events that Label Studio sends: START_TRAINING, and annotations that changed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import BadInput
from backend.ids import parse_label_studio_project

_ACTION = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)

TRAINING_ACTIONS = frozenset({"START_TRAINING"})
# Label Studio sends the plural of deletions; label-studio-ml listens for the singular, and others send that.
_DELETIONS = frozenset({"ANNOTATION_DELETED", "ANNOTATIONS_DELETED"})
ANNOTATION_ACTIONS = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"}) | _DELETIONS


@dataclass(frozen=True, slots=True)
class Event:
    """One call of the webhook. `action` may be one that we do not know; `project_id` is None if the call names none."""

    action: str
    project_id: int | None = None

    @property
    def starts_training(self) -> bool:
        """Whether Label Studio asks for a training now."""
        return self.action in TRAINING_ACTIONS

    @property
    def changes_annotations(self) -> bool:
        """Whether annotations changed, so that there may be something new to learn."""
        return self.action in ANNOTATION_ACTIONS


def parse_event(body: object) -> Event:
    """Read the body of a webhook.

    An event that names no project belongs to the project of its annotation, or else of its task.

    Raises:
        BadInput: the body is not an object, or has no action, or its project has no usable id.
    """
    if not isinstance(body, Mapping):
        raise BadInput(f"the webhook's body is {type(body).__name__}, not an object with an action")
    action = body.get("action")
    if not isinstance(action, str) or not _ACTION.fullmatch(action):
        raise BadInput(f"the webhook's action is {_shorten(action)}; Label Studio sends words like START_TRAINING")
    project = _find_project(body)
    return Event(action, None if project is None else parse_label_studio_project(project))


def _find_project(body: Mapping[str, Any]) -> object:
    """The first project that the event, its annotations or its tasks name; None if they name none."""
    holders = (body, *_list_rows(body, "annotation"), *_list_rows(body, "task"))
    projects = (_read_id(holder.get("project")) for holder in holders)
    return next((project for project in projects if project is not None), None)


def _list_rows(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects under a key or its plural, be it one or a list; an id alone stands for its object."""
    content = next((held for key in (name, f"{name}s") if (held := body.get(key))), None)
    rows = content if isinstance(content, list) else [content]
    return [row if isinstance(row, Mapping) else {"id": row} for row in rows]


def _read_id(value: object) -> object:
    """The id of an object that may stand for itself or be its id."""
    return value.get("id") if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class AnnotationChange:
    """An annotation that was submitted or changed.

    Attributes:
        annotation_id: Label Studio's id.
        task_id: the annotation's task; None if the annotation is gone.
        at: when, as Label Studio's `updated_at`.
    """

    annotation_id: int
    task_id: int | None
    at: str = ""


def annotation_changes(body: Mapping[str, Any]) -> tuple[AnnotationChange, ...]:
    """Return the annotations that an event is about. Leaves out rows without a usable id."""
    action = body.get("action")
    if action not in ANNOTATION_ACTIONS:
        return ()
    changes = (note_change(row, is_gone=action in _DELETIONS) for row in _list_rows(body, "annotation"))
    return tuple(change for change in changes if change is not None)


def note_change(row: Mapping[str, Any], *, is_gone: bool = False) -> AnnotationChange | None:
    """Return an annotation's row as a change; None if it lacks the annotation's id, or a submitted one's task.

    Args:
        row: Label Studio's annotation.
        is_gone: whether somebody deleted the annotation. A skipped annotation counts as gone too.
    """
    annotation_id, task_id = (_number(row, key) for key in ("id", "task"))
    if annotation_id is None:
        return None
    if is_gone or row.get("was_cancelled") is True:
        return AnnotationChange(annotation_id, None)
    return None if task_id is None else AnnotationChange(annotation_id, task_id, str(row.get("updated_at") or "")[:40])


def _number(row: object, key: str) -> int | None:
    value = _read_id(row.get(key)) if isinstance(row, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None


def _shorten(value: object) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__
