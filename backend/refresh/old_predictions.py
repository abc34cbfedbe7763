"""Deletes the predictions of an old version, but for those on tasks that people have touched.

An annotation may have begun as one of them (`parent_prediction`): how good that version was is read there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from backend.errors import NotFound
from backend.labelstudio.api.predictions import PredictionStore
from backend.labelstudio.payloads import Task

_PAGE, _PART = 500, 50
Patiently = Callable[[Callable[[], Any]], Any]  # calls what it is given, again while a failure may pass


def delete_version(version: str, *, store: PredictionStore, patiently: Patiently) -> int:
    """Delete a version's predictions on untouched tasks; return how many.

    In one request where no touched task holds any, else one by one; a task that somebody begins between the look and
    the request loses its old prediction, not its annotation.

    Args:
        version: `model_version` of what goes.
        store: what Label Studio holds.
        patiently: calls what it is given, again while a failure may pass (`Patience.ask`).
    """
    if not patiently(partial(store.on_touched_tasks, version)):
        return int(patiently(partial(store.delete_version, version)))
    after, deleted = 0, 0
    while states := patiently(partial(store.untouched, after=after, limit=_PAGE))[0]:
        holding = [state.task_id for state in states if version in state.versions]
        for start in range(0, len(holding), _PART):
            for task in patiently(partial(store.tasks, holding[start : start + _PART])):
                deleted += _delete_from(task, version, store=store, patiently=patiently)
        after = states[-1].task_id
    return deleted


def _delete_from(task: Task, version: str, *, store: PredictionStore, patiently: Patiently) -> int:
    if task.get("annotations") or task.get("drafts"):
        return 0
    ids = [int(stored["id"]) for stored in task.get("predictions") or () if stored.get("model_version") == version]
    for prediction_id in ids:
        patiently(partial(_delete, prediction_id, store))
    return len(ids)


def _delete(prediction_id: int, store: PredictionStore) -> None:
    try:
        store.delete(prediction_id)
    except NotFound:
        return  # a request whose answer was lost deleted it
