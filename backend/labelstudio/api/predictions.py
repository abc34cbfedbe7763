"""The predictions of one project of Label Studio: which tasks lack one, storing many at once, deleting old ones.

Nothing here keeps more than a page. Every call is sent once, with no second try of its own: who pushes thousands of
predictions must look at what was stored before it sends again (backend.refresh.walk).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from backend.errors import Upstream
from backend.labelstudio.api.filters import number_filter
from backend.labelstudio.api.session import Json, Session, json_object

_SILENCE_S = 110.0  # 200 predictions took half a second beside 2,000 tasks; a large project counts all of its own again


@dataclass(frozen=True, slots=True)
class TaskState:
    """What the data manager tells of one task without its annotations and predictions.

    Attributes:
        task_id: Label Studio's.
        versions: `model_version`s of its predictions; "" for one without.
        stored: how many predictions it has, two of one version counted twice. Right after `add`; Label Studio does not
            count again when it deletes.
        touched: somebody annotated, skipped or drafted it.
        data: the task's own, such as {"image": ...}.
    """

    task_id: int
    versions: frozenset[str]
    stored: int
    touched: bool
    data: Json = field(repr=False)


class PredictionStore:
    """One project's predictions, seen with one API key.

    Every method raises KeyRefused, NotFound, BadInput (what Label Studio refuses) and Upstream (it is away, fails,
    or is no Label Studio; `retry_after_s` where it said when to come back).
    """

    def __init__(self, url: str, api_key: str, *, project_id: int) -> None:
        self._session = Session(url, api_key, timeout_s=_SILENCE_S)
        self.project_id = project_id

    def project(self) -> Json:
        """Return the project: `label_config`, `model_version`, `task_number`, ..."""
        return json_object(self._session.send("GET", f"/api/projects/{self.project_id}/"))

    def show(self, version: str) -> None:
        """Let people see the predictions of this version, or of the backend of this title.

        Raises:
            BadInput: no prediction carries it, and no backend is called so.
        """
        self._session.send("PATCH", f"/api/projects/{self.project_id}/", body={"model_version": version})

    def list_untouched(self, *, after: int, limit: int) -> tuple[list[TaskState], int]:
        """Return the first `limit` tasks with a higher id than `after` that nobody annotated, skipped or drafted.

        And how many such tasks there are in all.
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
        """Return how many tasks somebody has annotated (skipped ones not counted)."""
        return self._tasks([number_filter("total_annotations", "greater", 0)], limit=1)[1]

    def lowest_scores(self, *, limit: int) -> list[int]:
        """Return the ids of untouched tasks, lowest score first: of the version that the project shows.

        Tasks without a prediction of it come last.
        """
        items = [number_filter("total_annotations", "equal", 0), number_filter("cancelled_annotations", "equal", 0)]
        found, _ = self._tasks(items, limit=limit, ordering="tasks:predictions_score")
        return [int(task["id"]) for task in found]

    def states(self, task_ids: Collection[int]) -> dict[int, TaskState]:
        """Return how these tasks are now, by id; tasks that are gone are not in it."""
        if not task_ids:
            return {}
        items = [{"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": list(task_ids)}]
        # A filter that lets everything pass: only what is asked for in one is computed.
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
        found, total = self._tasks([*items, versions], limit=limit)
        return [_state(task) for task in found], total

    def tasks(self, task_ids: Collection[int]) -> list[Json]:
        """Return these tasks with their annotations, drafts and predictions, as `/predict` gets them."""
        items = [{"filter": "filter:tasks:id", "operator": "in_list", "type": "List", "value": list(task_ids)}]
        return self._tasks(items, limit=len(task_ids), fields="all")[0] if task_ids else []

    def _tasks(
        self, items: list[Json], *, limit: int, ordering: str = "tasks:id", **more: str
    ) -> tuple[list[Json], int]:
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": [ordering]}
        asked = {"project": self.project_id, "page": 1, "page_size": limit, "query": json.dumps(query), **more}
        reply = json_object(self._session.send("GET", "/api/tasks", query=asked))
        found = reply.get("tasks")
        if not isinstance(found, list):
            raise Upstream("Label Studio answered no list of tasks")
        return found, int(reply.get("total") or 0)

    def add(self, predictions: Sequence[Json]) -> int:
        """Store predictions (`task`, `result`, `score`, `model_version`) in one request; return how many it took.

        All or none where a task is gone (BadInput); one that does not fit the labelling config is left out in silence.
        """
        path = f"/api/projects/{self.project_id}/import/predictions"
        return int(json_object(self._session.send("POST", path, body=list(predictions))).get("created") or 0)

    def add_one(self, prediction: Json) -> None:
        """Store one prediction, checked against the labelling config.

        Raises:
            BadInput: why it does not fit.
        """
        self._session.send("POST", "/api/predictions/", body=prediction)

    def remove_doubles(self, task_id: int, version: str) -> int:
        """Delete all but a task's first prediction of a version; return how many were deleted."""
        found = self._session.send("GET", "/api/predictions/", query={"task": task_id})
        rows = found if isinstance(found, list) else []
        ids = sorted(int(row["id"]) for row in rows if row.get("model_version") == version)
        for prediction_id in ids[1:]:
            self.delete(prediction_id)
        return len(ids[1:])

    def counts(self) -> dict[str, int]:
        """Return how many predictions there are of each version."""
        told = json_object(self._session.send("GET", f"/api/projects/{self.project_id}/model-versions/"))
        return {str(version): int(count) for version, count in told.items()}

    def delete_version(self, version: str) -> int:
        """Delete every prediction of a version; return how many.

        Those on annotated tasks too: see `on_touched_tasks`. A project that shows this version, or a backend's live
        answers, shows none afterwards: see `show`.
        """
        path = f"/api/projects/{self.project_id}/model-versions/"
        told = json_object(self._session.send("DELETE", path, body={"model_version": version}))
        return int(told.get("deleted_predictions") or 0)

    def on_touched_tasks(self, version: str) -> bool:
        """Whether a task that somebody annotated, skipped or drafted may hold a prediction of this version."""
        held = {
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
        return any(self._tasks([held, kind], limit=1)[1] for kind in kinds)

    def delete(self, prediction_id: int) -> None:
        """Delete one prediction."""
        self._session.send("DELETE", f"/api/predictions/{prediction_id}/")


def _state(task: Json) -> TaskState:
    told = task.get("predictions_model_versions")  # "v1,v2" where nothing separates better
    versions = told if isinstance(told, list) else str(told).split(",") if told else []
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
