"""What tests and benchmarks need of a Label Studio beside what the product asks of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.session import Json, json_object


class StudioSetup(LabelStudio):
    """A client that also makes and removes tasks, predictions and projects."""

    def delete_project(self, project_id: int) -> None:
        """Delete a project with everything in it."""
        self._slow.send("DELETE", f"/api/projects/{project_id}/")

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> int:
        """Create tasks (`{"data": {...}, "annotations": [...], "predictions": [...]}`); return how many."""
        reply = self._slow.send("POST", f"/api/projects/{project_id}/import", body=list(tasks))
        return int(json_object(reply)["task_count"])

    def create_prediction(self, task_id: int, *, result: Sequence[Json], score: float, model_version: str) -> Json:
        """Store a prediction with a task."""
        body = {"task": task_id, "result": list(result), "score": score, "model_version": model_version}
        return json_object(self._session.send("POST", "/api/predictions/", body=body))

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete one prediction."""
        self._session.send("DELETE", f"/api/predictions/{prediction_id}/")

    def retrieve_predictions(self, project_id: int, *, task_ids: Sequence[int] | None = None) -> None:
        """Make Label Studio ask the backend for predictions, as the data manager's action does.

        It says success even where the backend failed: look at `predictions` afterwards.
        """
        chosen = (
            {"all": task_ids is None, "excluded": []}
            if task_ids is None
            else {"all": False, "included": list(task_ids)}
        )
        query = {"id": "retrieve_tasks_predictions", "project": project_id}
        self._slow.send("POST", "/api/dm/actions", query=query, body={"selectedItems": chosen})
