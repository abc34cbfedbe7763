"""A Label Studio made of a dict and a socket: the endpoints that samloop uses, with the recorded shapes and habits.

It passes the same contract tests as the real one (tests/contracts/test_label_studio.py). Real HTTP on loopback, so that
the client under test sends, waits, is refused and is redirected as in life.

    with FakeLabelStudio() as studio:
        LabelStudio(studio.url, studio.token)
        studio.fail("/api/tasks", status=502)    # the next request whose path begins so
"""

import base64
import email.parser
import email.policy
import json
import operator
import secrets
import time

from fakes.connected_backends import ConnectedBackends
from fakes.server import Answer, Request, route
from fakes.stored_predictions import StoredPredictions, passes
from fakes.studio_rows import Json


class FakeLabelStudio(StoredPredictions, ConnectedBackends):
    """A context manager. `.url`, `.token` (legacy), `.personal_access_token()`; `.requests` is all that arrived."""

    def __init__(self, *, access_seconds: float = 300.0, address: str = "127.0.0.1") -> None:
        super().__init__(address=address)
        self.user, self.token = "fake@example.com", secrets.token_hex(20)
        self.access_seconds = access_seconds
        self.local_files: dict[str, bytes] = {}
        self.buckets: dict[str, str | bytes] = {}  # s3://... -> where /resolve/ redirects to, or what it proxies
        self._personal: set[str] = set()
        self._access: dict[str, float] = {}
        self._uploads: dict[str, bytes] = {}

    def personal_access_token(self) -> str:
        header, payload = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"HS256"}', b"{}"))
        token = f"{header}.{payload}.{secrets.token_urlsafe(24)}"
        self._personal.add(token)
        return token

    def expire_access_tokens(self) -> None:
        self._access.clear()

    def answer(self, request: Request) -> Answer:
        if request.path == "/health":
            return Answer(200, {"status": "UP"})
        if request.path == "/api/token/refresh/":
            return self._refresh(request)
        if not self._knows(request.headers.get("authorization", "")):
            return Answer(401, {"detail": "Authentication credentials were not provided.", "status_code": 401})
        return self._routed(request)

    def _refresh(self, request: Request) -> Answer:
        if request.json().get("refresh") not in self._personal:
            return Answer(401, {"detail": "Token is invalid", "code": "token_not_valid"})
        access = f"access-{secrets.token_hex(8)}"
        self._access[access] = time.monotonic() + self.access_seconds
        return Answer(200, {"access": access})

    def _knows(self, header: str) -> bool:
        kind, _, token = header.partition(" ")
        if kind == "Token":
            return token == self.token
        return kind == "Bearer" and self._access.get(token, 0.0) > time.monotonic()

    # Users, projects, tasks

    @route("GET", r"/api/current-user/whoami")
    def whoami(self, request: Request) -> Answer:
        return Answer(200, {"id": 1, "email": self.user, "username": "fake"})

    @route("POST", r"/api/projects/?")
    def create_project(self, request: Request) -> Answer:
        fields = {"model_version": "", "sampling": "Sequential sampling", "is_published": False, "description": ""}
        return Answer(201, self._new("project", fields | request.json()))

    @route("GET", r"/api/projects/(\d+)/")
    def read_project(self, request: Request, project: int) -> Answer:
        return Answer(200, self._rows["project"][project] | self._task_numbers(project))

    @route("GET", r"/api/projects/?")
    def list_projects(self, request: Request) -> Answer:
        page, size = request.number("page") or 1, request.number("page_size") or 30
        wanted = request.query.get("include", [""])[0].split(",")
        rows = [row | self._task_numbers(number) for number, row in sorted(self._rows["project"].items(), reverse=True)]
        shown = [
            {name: value for name, value in row.items() if wanted == [""] or name in wanted}
            for row in rows[(page - 1) * size : page * size]
        ]
        is_last = page * size >= len(rows)
        following = None if is_last else f"{self.url}/api/projects/?page={page + 1}&page_size={size}"
        return Answer(200, {"count": len(rows), "next": following, "previous": None, "results": shown})

    def _task_numbers(self, project: int) -> Json:
        tasks = self._of("task", project=project)
        annotated = {row["task"] for row in self._rows["annotation"].values() if not row.get("was_cancelled")}
        return {
            "task_number": len(tasks),
            "num_tasks_with_annotations": sum(task["id"] in annotated for task in tasks),
            "total_annotations_number": sum(
                not row["was_cancelled"] for row in self._rows["annotation"].values() if row["project"] == project
            ),
        }

    @route("PATCH", r"/api/projects/(\d+)/")
    def change_project(self, request: Request, project: int) -> Answer:
        row, fields = self._rows["project"][project], request.json()
        version = fields.get("model_version")
        known = {prediction["model_version"] for prediction in self._of("prediction", project=project)}
        known |= {backend["title"] for backend in self._of("ml", project=project)}
        if version and version not in known:
            return Answer(400, {"model_version": ["Model version doesn't exist either as live model or as static."]})
        row.update(fields)
        return Answer(200, row)

    @route("DELETE", r"/api/projects/(\d+)/")
    def delete_project(self, request: Request, project: int) -> Answer:
        del self._rows["project"][project]
        for kind in ("task", "annotation", "prediction", "ml", "webhook", "view"):
            for row in self._of(kind, project=project):
                del self._rows[kind][row["id"]]
        return Answer(204)

    @route("POST", r"/api/projects/(\d+)/import")
    def import_tasks(self, request: Request, project: int) -> Answer:
        self._rows["project"][project]
        if "multipart" in request.headers.get("content-type", ""):
            tasks = [{"data": {"image": self._upload(project, *part)}} for part in _files(request)]
        else:
            tasks = request.json()
        for task in tasks:
            self._import(project, task if "data" in task else {"data": task})
        return Answer(201, {"task_count": len(tasks), "annotation_count": 0, "predictions_count": 0})

    def _import(self, project: int, task: Json) -> None:
        row = self._new("task", {"project": project, "data": task["data"], "meta": task.get("meta", {}), "inner_id": 1})
        for annotation in task.get("annotations", []):
            self._annotate(row, annotation)
        for prediction in task.get("predictions", []):
            self._predict(row, prediction)

    def _upload(self, project: int, name: str, content: bytes) -> str:
        path = f"/data/upload/{project}/{secrets.token_hex(4)}-{name}"
        self._uploads[path] = content
        return path

    @route("GET", r"/api/tasks/?")
    def list_tasks(self, request: Request) -> Answer:
        project = request.number("project") or 0
        self._rows["project"][project]
        tasks = self._chosen(project, json.loads(request.query.get("query", ["{}"])[0]))
        size = request.number("page_size") or 100
        page = request.number("page") or 1
        if page > 1 and (page - 1) * size >= len(tasks):
            return Answer(404, {"status_code": 404, "detail": "Invalid page."})
        shown = tasks[(page - 1) * size : page * size]
        if request.query.get("fields") != ["all"]:
            shown = [task | {"annotations": [], "predictions": []} for task in shown]
        annotations = len(self._of("annotation", project=project))
        return Answer(
            200, {"total_annotations": annotations, "total_predictions": 0, "total": len(tasks), "tasks": shown}
        )

    def _chosen(self, project: int, query: Json) -> list[Json]:
        """The data manager's filters and orders, as far as samloop asks for them."""
        held: dict[str, dict[int, list[Json]]] = {kind: {} for kind in ("annotation", "draft", "prediction")}
        for kind, by_task in held.items():
            for row in list(self._rows[kind].values()):
                by_task.setdefault(row["task"], []).append(row)
        tasks = [
            self._full(task, **{f"{kind}s": by_task.get(task["id"], []) for kind, by_task in held.items()})
            for task in self._of("task", project=project)
        ]
        items = query.get("filters", {}).get("items", [])
        holds = any if items and query["filters"]["conjunction"] == "or" else all
        tasks = [task for task in tasks if holds(passes(task, item) for item in items)]

        def score(task: Json) -> float:
            scores = [prediction["score"] for prediction in task["predictions"]]
            return sum(scores) / len(scores) if scores else float("inf")

        if (ordering := query.get("ordering")) == ["tasks:predictions_score"]:
            return sorted(tasks, key=score)
        by_change = ordering == ["tasks:updated_at"]
        return sorted(tasks, key=operator.itemgetter(*(("updated_at", "id") if by_change else ("id",))))

    @route("GET", r"/api/tasks/(\d+)/")
    def read_task(self, request: Request, task: int) -> Answer:
        return Answer(200, self._full(self._rows["task"][task]))

    @route("DELETE", r"/api/tasks/(\d+)/")
    def delete_task(self, request: Request, task: int) -> Answer:
        row = self._rows["task"].pop(task)
        gone = [annotation["id"] for annotation in self._of("annotation", task=task)]
        for number in gone:
            del self._rows["annotation"][number]
        self._tell(row["project"], {"action": "TASKS_DELETED", "tasks": [{"id": task}]})
        return Answer(204)

    def _full(self, task: Json, **held: list[Json]) -> Json:
        annotations, drafts, predictions = (
            held[f"{kind}s"] if held else self._of(kind, task=task["id"])
            for kind in ("annotation", "draft", "prediction")
        )
        done = [annotation for annotation in annotations if not annotation["was_cancelled"]]
        versions = dict.fromkeys(prediction["model_version"] for prediction in predictions)
        return task | {
            "annotations": annotations,
            "predictions": predictions,
            "drafts": drafts,
            "is_labeled": bool(done),
            "total_annotations": len(done),
            "cancelled_annotations": len(annotations) - len(done),
            "total_predictions": len(predictions),
            "annotations_ids": ",".join(str(annotation["id"]) for annotation in annotations)[:500],
            "draft_exists": bool(drafts),
            "predictions_model_versions": ",".join(versions),
        }

    # Annotations and predictions

    @route("POST", r"/api/tasks/(\d+)/annotations/")
    def create_annotation(self, request: Request, task: int) -> Answer:
        row = self._annotate(self._rows["task"][task], request.json())
        self._tell(row["project"], {"action": "ANNOTATION_CREATED", "annotation": row})
        return Answer(201, row)

    def _annotate(self, task: Json, fields: Json) -> Json:
        known = {
            "completed_by": 1,
            "was_cancelled": False,
            "ground_truth": False,
            "lead_time": None,
            "parent_prediction": None,
            "parent_annotation": None,
            "result": [],
        }
        row = self._new("annotation", known | fields | {"task": task["id"], "project": task["project"]})
        self._rows["task"][task["id"]]["updated_at"] = self.now
        return row | {"result_count": len(row["result"])}

    @route("GET", r"/api/annotations/(\d+)/")
    def read_annotation(self, request: Request, annotation: int) -> Answer:
        return Answer(200, self._rows["annotation"][annotation])

    @route("PATCH", r"/api/annotations/(\d+)/")
    def change_annotation(self, request: Request, annotation: int) -> Answer:
        row = self._rows["annotation"][annotation]
        row.update({"updated_at": self.now} | request.json())
        self._rows["task"][row["task"]]["updated_at"] = self.now
        self._tell(row["project"], {"action": "ANNOTATION_UPDATED", "annotation": row})
        return Answer(200, row)

    @route("DELETE", r"/api/annotations/(\d+)/")
    def delete_annotation(self, request: Request, annotation: int) -> Answer:
        row = self._rows["annotation"].pop(annotation)
        self._rows["task"][row["task"]]["updated_at"] = self.now
        self._tell(row["project"], {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": annotation}]})
        return Answer(204)

    @route("GET", r"/api/predictions/")
    def list_predictions(self, request: Request) -> Answer:
        where = {key: request.number(key) for key in ("project", "task") if key in request.query}
        return Answer(200, self._of("prediction", **where))

    @route("POST", r"/api/predictions/")
    def create_prediction(self, request: Request) -> Answer:
        fields = request.json()
        if not isinstance(fields.get("score"), int | float | None):
            return Answer(400, {"validation_errors": {"score": ["A valid number is required."]}})
        return Answer(201, self._predict(self._rows["task"][fields["task"]], fields))

    def _predict(self, task: Json, fields: Json) -> Json:
        known = {"result": [], "score": None, "model_version": "", "cluster": None, "mislabeling": 0.0}
        return self._new("prediction", known | fields | {"task": task["id"], "project": task["project"]})

    @route("DELETE", r"/api/predictions/(\d+)/")
    def delete_prediction(self, request: Request, prediction: int) -> Answer:
        del self._rows["prediction"][prediction]
        return Answer(204)

    # The data manager's tabs

    @route("GET", r"/api/dm/views/")
    def list_views(self, request: Request) -> Answer:
        return Answer(200, self._of("view", project=request.number("project")))

    @route("POST", r"/api/dm/views/")
    def create_view(self, request: Request) -> Answer:
        fields = request.json()
        self._rows["project"][fields["project"]]
        return Answer(201, self._new("view", {"project": fields["project"], "data": _shown_view(fields["data"])}))

    @route("PATCH", r"/api/dm/views/(\d+)/")
    def change_view(self, request: Request, view: int) -> Answer:
        self._rows["view"][view]["data"] = _shown_view(request.json()["data"])
        return Answer(200, self._rows["view"][view])

    @route("GET", r"/api/dm/columns/")
    def list_columns(self, request: Request) -> Answer:
        self._rows["project"][request.number("project") or 0]
        hidden = ("predictions_score", "predictions_model_versions", "updated_at")
        columns = [
            {"id": name, "target": "tasks", "visibility_defaults": {"explore": name not in hidden, "labeling": False}}
            for name in ("id", "completed_at", "total_annotations", "annotators", *hidden)
        ]
        return Answer(200, {"columns": columns})

    # Files

    @route("GET", r"/data/upload/(?:.*)")
    def read_upload(self, request: Request) -> Answer:
        if request.path not in self._uploads:
            return Answer(500, {"status_code": 500, "detail": "Unexpected error"})  # not 404
        return Answer(200, self._uploads[request.path], {"Content-Type": "image/png"})

    @route("GET", r"/data/local-files/")
    def read_local_file(self, request: Request) -> Answer:
        return Answer(200, self.local_files[request.query["d"][0]], {"Content-Type": "image/png"})

    @route("GET", r"/tasks/(\d+)/resolve/")
    def resolve_bucket(self, request: Request, task: int) -> Answer:
        uri = base64.urlsafe_b64decode(request.query["fileuri"][0]).decode()
        held = self.buckets[uri]
        return Answer(200, held) if isinstance(held, bytes) else Answer(303, None, {"Location": held})


def _shown_view(data: Json) -> Json:
    """An order that is empty is not told."""
    return {key: value for key, value in data.items() if key != "ordering" or value}


def _files(request: Request) -> list[tuple[str, bytes]]:
    """Names and contents of a multipart body."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    return [(part.get_filename() or "x", part.get_payload(decode=True)) for part in message.iter_parts()]  # type: ignore[attr-defined, misc]
