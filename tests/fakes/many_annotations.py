"""A Label Studio with any number of annotations, one a task, of which it keeps none, for looks for missed webhooks.

Annotation N is task N's. Its answers have the shapes and filters of the endpoints that a look calls
(backend.labelstudio.api.annotations, LabelStudio.list_annotated_since), which tests/contracts/test_label_studio.py
compares with the real one's.
"""

import json
from typing import Any

from fakes.server import Answer, FakeServer, Request

LONG_AGO = "2026-01-01T00:00:00.000000Z"


class ManyAnnotations(FakeServer):
    """Annotations 1 to `count`, submitted long ago; then the last may be deleted."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.is_last_deleted, self.asked = count, False, 0

    def answer(self, request: Request) -> Answer:
        self.asked += 1
        self.requests.clear()  # else the list of requests would be what grows
        if request.path == "/api/tasks":
            return self._tasks(json.loads(request.query["query"][0]))
        if request.path.startswith("/api/annotations/"):
            return Answer(404, {"detail": "Not found."})
        if request.path in {"/api/webhooks/", "/api/ml/"}:
            return Answer(200, [])
        left = self.count - self.is_last_deleted
        return Answer(200, {"id": 1, "total_annotations_number": left, "start_training_on_annotation_update": False})

    def _tasks(self, query: Any) -> Answer:
        wanted = {item["filter"]: item["value"] for item in query["filters"]["items"]}
        if (ids := wanted.get("filter:tasks:annotations_ids")) is None:
            return Answer(200, {"tasks": [], "total": 0})  # none changed lately
        shown = [number for number in map(int, ids.split()) if number <= self.count - self.is_last_deleted]
        return Answer(200, {"tasks": [{"id": number, "annotations_ids": str(number)} for number in shown]})
