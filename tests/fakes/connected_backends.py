"""The backends that are connected to the fake Label Studio, which it calls as the real one does."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import requests
from fakes.server import Answer, Request, route
from fakes.studio_rows import Json
from fakes.studio_webhooks import StudioWebhooks, complete_webhook


class ConnectedBackends(StudioWebhooks):
    """A part of FakeLabelStudio."""

    token: str
    _predict: Callable[[Json, Json], Json]
    _full: Callable[..., Json]

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
            self._new("webhook", complete_webhook({"project": row["project"], "url": url}))
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
