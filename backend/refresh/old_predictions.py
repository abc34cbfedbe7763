"""Deletes an old version's predictions, except on tasks that people have touched.

An annotation may have begun as such a prediction (`parent_prediction`), and the live evaluation still needs it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from backend.errors import NotFound
from backend.labelstudio.api.predictions import PredictionStore
from backend.labelstudio.payloads import Task

_PAGE, _PART = 500, 50
Patiently = Callable[[Callable[[], Any]], Any]  # calls its argument, again and again while a failure may pass


def delete_version(version: str, *, store: PredictionStore, patiently: Patiently) -> int:
    """Delete a version's predictions on untouched tasks and return how many.

    If no touched task has a prediction of this version, one request deletes them all; otherwise they go one
    by one. A task that somebody begins between the look and the request loses its old prediction, not its annotation.

    Args:
        version: the `model_version` of the predictions to delete.
        store: the project's tasks and predictions in Label Studio.
        patiently: calls its argument, again while a failure may pass (`Patience.ask`).
    """
    if not patiently(partial(store.on_touched_tasks, version)):
        return int(patiently(partial(store.delete_version, version)))
    after, deleted = 0, 0
    while states := patiently(partial(store.list_untouched, after=after, limit=_PAGE))[0]:
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
        return  # an earlier request, whose answer was lost, deleted it
