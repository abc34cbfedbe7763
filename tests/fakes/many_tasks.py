"""A Label Studio of any number of tasks that keeps one byte a task: for what a refresh costs in memory and time.

Its answers have the shapes and filters of the endpoints that a refresh calls (backend.labelstudio.api.predictions),
recorded in tests/contracts/test_prediction_store.py; a task's data are made from its id when it is asked for.
"""

import json
from collections.abc import Iterable
from typing import Any

from fakes.server import Answer, FakeServer, Request

TOUCHED_EVERY = 10


class ManyTasks(FakeServer):
    """Tasks 1 to `count`; every tenth was annotated. `held[id]` counts predictions of `version`."""

    def __init__(self, count: int, *, version: str) -> None:
        super().__init__()
        self.count, self.version = count, version
        self.held = bytearray(count + 1)
        self.shown, self.largest_request = "", 0

    def answer(self, request: Request) -> Answer:
        self.requests.clear()  # else the list of requests would be what grows
        self.largest_request = max(self.largest_request, len(request.body))
        if request.path == "/api/tasks":
            return self._tasks(json.loads(request.query["query"][0]), request.number("page_size") or 100)
        if request.path.endswith("/import/predictions"):
            rows = request.json()
            for row in rows:
                self.held[row["task"]] += 1
            return Answer(201, {"created": len(rows)})
        if request.path.endswith("/model-versions/"):
            return Answer(200, {self.version: sum(self.held)})
        if request.method == "PATCH":
            self.shown = request.json()["model_version"]
        return Answer(200, {"label_config": "<View/>", "model_version": self.shown, "task_number": self.count})

    def _tasks(self, query: Any, size: int) -> Answer:
        wanted = {item["filter"]: item["value"] for item in query["filters"]["items"]}
        ids = wanted["filter:tasks:id"]
        if isinstance(ids, list):
            found: Iterable[int] = ids
            return Answer(200, {"tasks": [self._task(task_id) for task_id in found], "total": len(ids)})
        rest = (task_id for task_id in range(ids + 1, self.count + 1) if task_id % TOUCHED_EVERY)
        page = [self._task(task_id) for task_id, _ in zip(rest, range(size), strict=False)]
        left = (self.count - ids) - (self.count // TOUCHED_EVERY - ids // TOUCHED_EVERY)
        return Answer(200, {"tasks": page, "total": left})

    def _task(self, task_id: int) -> dict[str, Any]:
        held = self.held[task_id]
        return {
            "id": task_id,
            "data": {"image": f"/data/upload/1/{task_id:08d}.png"},
            "total_predictions": held,
            "predictions_model_versions": self.version if held else "",
            "draft_exists": False,
            "total_annotations": int(task_id % TOUCHED_EVERY == 0),
            "cancelled_annotations": 0,
        }
