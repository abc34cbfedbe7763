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
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from fakes.server import Answer, FakeServer, Request, route
from fakes.stored_predictions import StoredPredictions, passes

Json = dict[str, Any]
NOW = "2026-11-23T07:21:19.438495Z"


class FakeLabelStudio(StoredPredictions, FakeServer):
    """A context manager. `.url`, `.token` (legacy), `.personal_access_token()`; `.requests` is all that arrived."""

    def __init__(self, *, access_seconds: float = 300.0, address: str = "127.0.0.1") -> None:
        super().__init__(address=address)
        self.user, self.token = "fake@example.com", secrets.token_hex(20)
        self.access_seconds = access_seconds
        self.now = NOW  # when what is made or changed from here on was
        self.webhook_calls: list[tuple[str, Json]] = []
        self.local_files: dict[str, bytes] = {}
        self.buckets: dict[str, str | bytes] = {}  # s3://... -> where /resolve/ redirects to, or what it proxies
        self._personal: set[str] = set()
        self._access: dict[str, float] = {}
        self._lock = threading.RLock()
        self._rows: dict[str, dict[int, Json]] = {
            kind: {} for kind in ("project", "task", "annotation", "draft", "prediction", "ml", "webhook", "view")
        }
        self._last: dict[str, int] = {}
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

    def _new(self, kind: str, row: Json) -> Json:
        with self._lock:
            self._last[kind] = self._last.get(kind, 0) + 1
            row = {"id": self._last[kind], "created_at": self.now, "updated_at": self.now} | row
            self._rows[kind][row["id"]] = row
            return row

    def _of(self, kind: str, **where: Any) -> list[Json]:
        return [row for row in self._rows[kind].values() if all(row[key] == value for key, value in where.items())]

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

    # The backend: asked as Label Studio asks it

    @route("GET", r"/api/ml/")
    def list_backends(self, request: Request) -> Answer:
        return Answer(200, [_without_password(row) for row in self._of("ml", project=request.number("project"))])

    @route("POST", r"/api/ml/")
    def create_backend(self, request: Request) -> Answer:
        return self._save_backend({"is_interactive": False, "auth_method": "NONE", "title": ""} | request.json(), None)

    @route("PATCH", r"/api/ml/(\d+)")
    def change_backend(self, request: Request, backend: int) -> Answer:
        fields = request.json()
        if not {"url", "project"} <= set(fields):
            return Answer(500, {"status_code": 500, "detail": "'url'"})
        return self._save_backend(self._rows["ml"][backend] | fields, backend)

    def _save_backend(self, row: Json, backend: int | None) -> Answer:
        project = self._rows["project"][row["project"]]
        setup = {
            "project": f"{project['id']}.1795418479",
            "schema": project["label_config"],
            "hostname": self.url,
            "access_token": self.token,
            "extra_params": {},
        }
        try:
            _ask(row, "GET", "/health")
            row["model_version"] = _ask(row, "POST", "/setup", setup)["model_version"]
        except requests.RequestException as fault:
            return Answer(400, {"non_field_errors": [f"Can't connect to ML backend {row['url']}: {fault}"]})
        if backend is not None:
            self._rows["ml"][backend].update(row)
            return Answer(200, _without_password(self._rows["ml"][backend]))
        row = self._new("ml", row | {"state": "CO"})
        # The webhook that Label Studio makes by itself carries no credentials.
        url = row["url"].rstrip("/") + "/webhook"
        if not self._of("webhook", project=row["project"], url=url):
            self._new("webhook", _webhook({"project": row["project"], "url": url}))
        project["model_version"] = project["model_version"] or row["title"]
        return Answer(201, _without_password(row))

    @route("DELETE", r"/api/ml/(\d+)")
    def delete_backend(self, request: Request, backend: int) -> Answer:
        del self._rows["ml"][backend]
        return Answer(204)

    @route("POST", r"/api/ml/(\d+)/train")
    def train(self, request: Request, backend: int) -> Answer:
        row = self._rows["ml"][backend]
        body = {"action": "START_TRAINING", "project": self._rows["project"][row["project"]]}
        with suppress(requests.RequestException):  # the user interface gets 200 whatever the backend answers
            _ask(row, "POST", "/webhook", body)
        return Answer(200)

    @route("POST", r"/api/ml/(\d+)/interactive-annotating")
    def interactive(self, request: Request, backend: int) -> Answer:
        asked = request.json()
        try:
            found = self._predicted(self._rows["ml"][backend], [self._rows["task"][asked["task"]]], asked["context"])
        except requests.RequestException as fault:
            return Answer(200, {"errors": [str(fault)]})
        return Answer(200, {"data": found[0]})

    @route("POST", r"/api/dm/actions")
    def action(self, request: Request) -> Answer:
        if request.query["id"] != ["retrieve_tasks_predictions"]:
            raise LookupError
        chosen = request.json()["selectedItems"]
        tasks = self._of("task", project=request.number("project"))
        if not chosen.get("all"):
            tasks = [task for task in tasks if task["id"] in chosen["included"]]
        for row in self._of("ml", project=request.number("project"))[:1]:
            with suppress(requests.RequestException, ValueError):  # it says success all the same
                served = _ask(row, "POST", "/setup", {"project": f"{row['project']}.1"})["model_version"]
                having = {
                    prediction["task"] for prediction in self._of("prediction") if prediction["model_version"] == served
                }
                lacking = [task for task in tasks if task["id"] not in having]
                for task, found in zip(lacking, self._predicted(row, lacking, None) if lacking else [], strict=True):
                    for prediction in found if isinstance(found, list) else [found]:
                        self._predict(task, prediction)
        return Answer(200, {"processed_items": len(tasks), "detail": f"Retrieved {len(tasks)} predictions"})

    def _predicted(self, row: Json, tasks: list[Json], context: Json | None) -> list[Json]:
        project = self._rows["project"][row["project"]]
        body = {
            "tasks": [self._full(task) for task in tasks],
            "project": f"{project['id']}.1795418479",
            "label_config": project["label_config"],
            "params": {"login": None, "password": None, "context": context},
        }
        results: list[Json] = _ask(row, "POST", "/predict", body)["results"]
        return results

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

    # Webhooks

    @route("GET", r"/api/webhooks/")
    def list_webhooks(self, request: Request) -> Answer:
        return Answer(200, self._of("webhook", project=request.number("project")))

    @route("POST", r"/api/webhooks/")
    def create_webhook(self, request: Request) -> Answer:
        fields = request.json()
        if "." not in (urlsplit(fields["url"]).hostname or "") and urlsplit(fields["url"]).hostname != "localhost":
            return Answer(400, {"validation_errors": {"url": ["Enter a valid URL."]}})
        return Answer(201, self._new("webhook", _webhook(fields)))

    @route("PATCH", r"/api/webhooks/(\d+)/")
    def change_webhook(self, request: Request, webhook: int) -> Answer:
        self._rows["webhook"][webhook].update(request.json())
        return Answer(200, self._rows["webhook"][webhook])

    @route("DELETE", r"/api/webhooks/(\d+)/")
    def delete_webhook(self, request: Request, webhook: int) -> Answer:
        del self._rows["webhook"][webhook]
        return Answer(204)

    def _tell(self, project: int, event: Json) -> None:
        body = event | {"project": self._rows["project"][project]}
        for webhook in self._of("webhook", project=project, is_active=True):
            self.webhook_calls.append((webhook["url"], body))
            with suppress(requests.RequestException):  # never retried, and nobody hears of it
                requests.post(webhook["url"], json=body, headers=webhook["headers"], timeout=1)

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


def _webhook(fields: Json) -> Json:
    known = {"headers": {}, "is_active": True, "send_payload": True, "send_for_all_actions": True, "actions": []}
    return known | fields


def _without_password(row: Json) -> Json:
    return {key: value for key, value in row.items() if key != "basic_auth_pass"}


def _ask(backend: Json, method: str, path: str, body: Json | None = None) -> Any:
    """A call of the backend, with its credentials as Label Studio sends them; anything but 2xx raises."""
    auth = None
    if backend["auth_method"] == "BASIC_AUTH":
        auth = (backend["basic_auth_user"], backend["basic_auth_pass"])
    reply = requests.request(method, backend["url"].rstrip("/") + path, json=body, auth=auth, timeout=100)
    reply.raise_for_status()
    return reply.json() if reply.content else None


def _files(request: Request) -> list[tuple[str, bytes]]:
    """Names and contents of a multipart body."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    return [(part.get_filename() or "x", part.get_payload(decode=True)) for part in message.iter_parts()]  # type: ignore[attr-defined, misc]
