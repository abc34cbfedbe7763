"""The predictions of one Label Studio project: finds tasks that lack one, stores many at once, deletes outdated ones.

Nothing here holds more than a page in memory. Every request is sent once: a caller that pushes thousands of predictions
must read what is stored before it sends again (backend.refresh.walk).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from backend.errors import Upstream
from backend.labelstudio.api.filters import number_filter
from backend.labelstudio.api.session import Json, Session, json_object

# Storing 200 predictions in a project of 2,000 tasks took half a second; Label Studio counts all of them every time.
_SILENCE_S = 110.0


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task as the data manager shows it, without its annotations and predictions.

    Attributes:
        task_id: Label Studio's id.
        versions: the `model_version`s of its predictions; "" stands for a prediction without.
        stored: how many predictions it has; two of the same version count twice. Correct after `add`, but not after a
            deletion: Label Studio does not count again then.
        touched: whether somebody has annotated, skipped or drafted it.
        data: the task's data, such as {"image": ...}.
    """

    task_id: int
    versions: frozenset[str]
    stored: int
    touched: bool
    data: Json = field(repr=False)


class PredictionStore:
    """One project's predictions, seen with one API key.

    Every method raises KeyRefused, NotFound, BadInput (Label Studio refuses the request) and Upstream (Label Studio is
    away, fails, or is another program; `retry_after_s` holds the pause that it asked for).
    """

    def __init__(self, url: str, api_key: str, *, project_id: int) -> None:
        self._session = Session(url, api_key, timeout_s=_SILENCE_S)
        self.project_id = project_id

    def project(self) -> Json:
        """Return the project: `label_config`, `model_version`, `task_number`, ..."""
        return json_object(self._session.send("GET", f"/api/projects/{self.project_id}/"))

    def show(self, version: str) -> None:
        """Show people the predictions of this version, or of the backend with this title.

        Raises:
            BadInput: no prediction has this version, and no backend has this title.
        """
        self._session.send("PATCH", f"/api/projects/{self.project_id}/", body={"model_version": version})

    def list_untouched(self, *, after: int, limit: int) -> tuple[list[TaskState], int]:
        """Return the first `limit` untouched tasks with an id above `after`, and how many such tasks there are.

        Untouched: nobody has annotated, skipped or drafted the task.
        """
        return self._states(
            [
                number_filter("id", "greater", after),
                number_filter("total_annotations", "equal", 0),
                number_filter("cancelled_annotations", "equal", 0),
                {"filter": "filter:tasks:draft_exists", "operator": "equal", "type": "Boolean", "value": False},
            ],
            limit=limit,
        )

    def count_annotated(self) -> int:
        """Return how many tasks somebody has annotated; a skipped task does not count."""
        return self._tasks([number_filter("total_annotations", "greater", 0)], limit=1)[1]

    def lowest_scores(self, *, limit: int) -> list[int]:
        """Return the ids of tasks that nobody has annotated or skipped, lowest score first.

        The score is that of the version that the project shows. Tasks without a prediction of it come last.
        """
        items = [number_filter("total_annotations", "equal", 0), number_filter("cancelled_annotations", "equal", 0)]
        tasks, _ = self._tasks(items, limit=limit, ordering="tasks:predictions_score")
        return [int(task["id"]) for task in tasks]

    def states(self, task_ids: Collection[int]) -> dict[int, TaskState]:
        """Return the present states of these tasks, by id, without deleted tasks."""
        if not task_ids:
            return {}
        items = [{"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": list(task_ids)}]
        # A filter that passes every task: Label Studio computes only those fields that a filter asks for.
        items.append(
            {"filter": "filter:tasks:draft_exists", "operator": "in_list", "type": "List", "value": [True, False]}
        )
        return {state.task_id: state for state in self._states(items, limit=len(task_ids))[0]}

    def _states(self, items: list[Json], *, limit: int) -> tuple[list[TaskState], int]:
        versions = {
            "filter": "filter:tasks:predictions_model_versions",
            "operator": "not_contains",
            "type": "List",
            "value": ["samloop: no version is called so"],
        }
        tasks, total = self._tasks([*items, versions], limit=limit)
        return [_state(task) for task in tasks], total

    def tasks(self, task_ids: Collection[int]) -> list[Json]:
        """Return these tasks as Label Studio sends them to `/predict`: with annotations, drafts and predictions."""
        items = [{"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": list(task_ids)}]
        return self._tasks(items, limit=len(task_ids), fields="all")[0] if task_ids else []

    def _tasks(
        self, items: list[Json], *, limit: int, ordering: str = "tasks:id", **more: str
    ) -> tuple[list[Json], int]:
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": [ordering]}
        asked = {"project": self.project_id, "page": 1, "page_size": limit, "query": json.dumps(query), **more}
        reply = json_object(self._session.send("GET", "/api/tasks", query=asked))
        tasks = reply.get("tasks")
        if not isinstance(tasks, list):
            raise Upstream("Label Studio answered no list of tasks")
        return tasks, int(reply.get("total") or 0)

    def add(self, predictions: Sequence[Json]) -> int:
        """Store predictions (`task`, `result`, `score`, `model_version`) in one request; return how many were stored.

        Label Studio silently leaves out a prediction that does not fit the labelling interface.

        Raises:
            BadInput: a task is gone; nothing was stored.
        """
        path = f"/api/projects/{self.project_id}/import/predictions"
        return int(json_object(self._session.send("POST", path, body=list(predictions))).get("created") or 0)

    def add_one(self, prediction: Json) -> None:
        """Store one prediction, checked against the labelling interface.

        Raises:
            BadInput: it does not fit; the message gives Label Studio's reason.
        """
        self._session.send("POST", "/api/predictions/", body=prediction)

    def remove_doubles(self, task_id: int, version: str) -> int:
        """Delete a task's predictions of a version, except for the first; return how many were deleted."""
        reply = self._session.send("GET", "/api/predictions/", query={"task": task_id})
        rows = reply if isinstance(reply, list) else []
        ids = sorted(int(row["id"]) for row in rows if row.get("model_version") == version)
        for prediction_id in ids[1:]:
            self.delete(prediction_id)
        return len(ids[1:])

    def counts(self) -> dict[str, int]:
        """Return how many predictions there are of each version."""
        counts = json_object(self._session.send("GET", f"/api/projects/{self.project_id}/model-versions/"))
        return {str(version): int(count) for version, count in counts.items()}

    def delete_version(self, version: str) -> int:
        """Delete every prediction of a version, those on annotated tasks too; return how many were deleted.

        See `on_touched_tasks` first. A project that showed this version, or a backend's live answers, shows no
        predictions afterwards: see `show`.
        """
        path = f"/api/projects/{self.project_id}/model-versions/"
        reply = json_object(self._session.send("DELETE", path, body={"model_version": version}))
        return int(reply.get("deleted_predictions") or 0)

    def on_touched_tasks(self, version: str) -> bool:
        """Whether a task that somebody has annotated, skipped or drafted may hold a prediction of this version."""
        has_version = {
            "filter": "filter:tasks:predictions_model_versions",
            "operator": "contains",
            "type": "List",
            "value": [version],
        }
        drafted = {"filter": "filter:tasks:draft_exists", "operator": "equal", "type": "Boolean", "value": True}
        kinds = (
            number_filter("total_annotations", "greater", 0),
            number_filter("cancelled_annotations", "greater", 0),
            drafted,
        )
        return any(self._tasks([has_version, kind], limit=1)[1] for kind in kinds)

    def delete(self, prediction_id: int) -> None:
        """Delete one prediction."""
        self._session.send("DELETE", f"/api/predictions/{prediction_id}/")


def _state(task: Json) -> TaskState:
    listed = task.get("predictions_model_versions")  # a list, or text such as "v1,v2", depending on the database
    versions = listed if isinstance(listed, list) else str(listed).split(",") if listed else []
    stored = int(task.get("total_predictions") or 0)
    touched = bool(task.get("total_annotations") or task.get("cancelled_annotations") or task.get("draft_exists"))
    data = task.get("data")
    return TaskState(
        int(task["id"]),
        frozenset(str(version or "") for version in versions),
        stored,
        touched,
        data if isinstance(data, dict) else {},
    )
