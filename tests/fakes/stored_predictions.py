"""The endpoints around many predictions at once, and the data manager's filters, as the fake Label Studio has them."""

import operator
from collections.abc import Callable

from fakes.server import Answer, Request, route
from fakes.studio_rows import Json, StudioRows


class StoredPredictions(StudioRows):
    """A part of FakeLabelStudio."""

    _predict: Callable[[Json, Json], Json]

    @route("POST", r"/api/projects/(\d+)/import/predictions")
    def import_predictions(self, request: Request, project: int) -> Answer:
        rows = request.json()
        tasks = {task["id"]: task for task in self._of("task", project=project)}
        if gone := [row["task"] for row in rows if row["task"] not in tasks]:
            return Answer(400, {"validation_errors": [f'contains invalid "task" field: {gone[0]} not found']})
        labels = self._rows["project"][project]["label_config"]
        # One whose labels the project does not know is left out, and nobody is told.
        fitting = [row for row in rows if all(f'"{label}"' in labels for label in _labels(row))]
        for row in fitting:
            self._predict(tasks[row["task"]], row)
        return Answer(201, {"created": len(fitting)})

    @route("GET", r"/api/projects/(\d+)/model-versions/")
    def list_versions(self, request: Request, project: int) -> Answer:
        counts: dict[str, int] = {}
        for row in self._of("prediction", project=project):
            counts[row["model_version"]] = counts.get(row["model_version"], 0) + 1
        shown = self._rows["project"][project]["model_version"]
        return Answer(200, counts | ({shown: 0} if shown and shown not in counts else {}))

    @route("DELETE", r"/api/projects/(\d+)/model-versions/")
    def delete_versions(self, request: Request, project: int) -> Answer:
        version, row = request.json()["model_version"], self._rows["project"][project]
        found = self._of("prediction", project=project, model_version=version)
        for prediction in found:
            del self._rows["prediction"][prediction["id"]]
        if row["model_version"] in {version, *(backend["title"] for backend in self._of("ml", project=project))}:
            row["model_version"] = None
        return Answer(200, {"deleted_predictions": len(found)})

    @route("POST", r"/api/tasks/(\d+)/drafts")
    def create_draft(self, request: Request, task: int) -> Answer:
        return Answer(201, self._new("draft", request.json() | {"task": self._rows["task"][task]["id"]}))


def passes(task: Json, item: Json) -> bool:
    """Whether a task passes a filter of the data manager, as far as samloop asks for them."""
    field, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
    if field == "predictions_model_versions":
        holds = any(part in version for part in value for version in task[field].split(","))
        return {"contains": holds, "not_contains": not holds}[item["operator"]]
    if field == "annotations_ids":
        return not {int(number) for number in value.split()}.isdisjoint(row["id"] for row in task["annotations"])
    compare = {"equal": operator.eq, "greater": operator.gt, "in_list": lambda one, many: one in many}
    holds = bool(compare[item["operator"]](task[field], value))
    return holds and ("child_filter" not in item or passes(task, item["child_filter"]))


def _labels(row: Json) -> list[str]:
    return [
        label
        for region in row["result"]
        for name, value in region["value"].items()
        if name.endswith("labels")
        for label in value
    ]
