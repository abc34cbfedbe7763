"""Label Studio's API, as far as samloop needs it. Answers are Label Studio's JSON as it stands."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import count
from typing import Any
from urllib.parse import urljoin, urlsplit

from backend.errors import BadInput, KeyRefused, NotFound, RedirectedElsewhere, Upstream
from backend.labelstudio.api.session import Session
from backend.net.download import Reply, download
from backend.net.url_policy import same_origin

# Django reads 100 files a request at most.
_FILES_A_REQUEST = 50
# Label Studio itself waits 100 s for a backend before it answers.
_PREDICT_S = 110.0
_MOST_REDIRECTS = 5

Json = dict[str, Any]


class LabelStudio:
    """One Label Studio, seen with one API key. Safe for any number of threads.

    Args:
        url: where it answers; a path is kept.
        api_key: a legacy token or a personal access token.
        timeout_s: longest silence of a connection.
        public_url: where browsers reach it; None: at `url`.

    Every method raises KeyRefused (401, 403), NotFound (404), BadInput (400: what Label Studio refuses) and Upstream
    (it is away, fails, or is no Label Studio); reading is tried again while the failure may pass.

    Attributes:
        url, public_url: without a slash at the end.
        name: tells apart this address and key from any other, without showing the key.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 10.0, public_url: str | None = None) -> None:
        self._session = Session(url, api_key, timeout_s=timeout_s)
        self._slow = Session(url, api_key, timeout_s=max(timeout_s, _PREDICT_S))
        self.url, self.name = self._session.url, self._session.name
        self.public_url = (public_url or self.url).rstrip("/")

    def whoami(self) -> str:
        """Return the e-mail address of the key's owner."""
        return str(_object(self._session.get("/api/current-user/whoami"))["email"])

    # Projects and tasks

    def project(self, project_id: int) -> Json:
        """Return the project: `label_config`, `model_version`, ..."""
        return _object(self._session.get(f"/api/projects/{project_id}/"))

    def create_project(self, title: str, label_config: str, **fields: object) -> Json:
        """Create a project and return it; `fields` as Label Studio names them."""
        body = {"title": title, "label_config": label_config, **fields}
        return _object(self._session.send("POST", "/api/projects/", body=body))

    def update_project(self, project_id: int, **fields: object) -> Json:
        """Change fields of a project, such as `model_version`, and return it."""
        return _object(self._session.send("PATCH", f"/api/projects/{project_id}/", body=fields))

    def delete_project(self, project_id: int) -> None:
        """Delete a project with everything in it."""
        self._slow.send("DELETE", f"/api/projects/{project_id}/")

    def tasks(self, project_id: int, *, page_size: int = 100) -> Iterator[Json]:
        """Yield every task with its annotations and predictions, page by page; none twice.

        Raises:
            NotFound: before the first task, where there is no such project.
        """
        seen: set[int] = set()
        for page in count(1):
            query = {"project": project_id, "fields": "all", "page": page, "page_size": page_size}
            try:
                reply = _object(self._slow.get("/api/tasks", **query))
            except NotFound:
                if page == 1:
                    self.project(project_id)
                return  # a page past the last
            found = [task for task in _list(reply.get("tasks")) if task["id"] not in seen]
            seen.update(task["id"] for task in found)
            yield from found
            if not reply["tasks"] or len(seen) >= int(reply.get("total") or 0):
                return

    def upcoming_tasks(self, project_id: int, *, after: int, limit: int) -> list[Json]:
        """Return the tasks that the label stream is likely to bring after task `after`, without their annotations.

        Label Studio tells what comes next only by taking it: so these are the tasks that nobody annotated, in the
        project's order: by id from `after` on, then from the start; by score in uncertainty sampling; where the order
        is random, by id too.
        """
        by_score = str(self.project(project_id).get("sampling", "")).startswith("Uncertainty")
        found = self._not_annotated(project_id, after=0 if by_score else after, limit=limit + 1, by_score=by_score)
        if len(found) <= limit and not by_score:
            found += self._not_annotated(project_id, after=0, limit=limit + 1, by_score=False)
        unique = {int(task["id"]): task for task in found if task["id"] != after}
        return list(unique.values())[:limit]

    def _not_annotated(self, project_id: int, *, after: int, limit: int, by_score: bool) -> list[Json]:
        wanted = [("total_annotations", "equal", 0), ("id", "greater", after)]
        items = [
            {"filter": f"filter:tasks:{field}", "operator": operator, "type": "Number", "value": value}
            for field, operator, value in wanted
        ]
        query = {
            "filters": {"conjunction": "and", "items": items},
            "ordering": ["tasks:predictions_score" if by_score else "tasks:id"],
        }
        reply = self._session.get("/api/tasks", project=project_id, page=1, page_size=limit, query=json.dumps(query))
        return _list(_object(reply).get("tasks"))

    def task(self, task_id: int) -> Json:
        """Return one task with its annotations and predictions."""
        return _object(self._session.get(f"/api/tasks/{task_id}/"))

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> int:
        """Create tasks (`{"data": {...}, "annotations": [...], "predictions": [...]}`); return how many."""
        reply = self._slow.send("POST", f"/api/projects/{project_id}/import", body=list(tasks))
        return int(_object(reply)["task_count"])

    def import_images(self, project_id: int, files: Mapping[str, bytes]) -> int:
        """Upload images, by file name, and make a task of each; return how many."""
        names, made = list(files), 0
        for start in range(0, len(names), _FILES_A_REQUEST):
            parts = [(name, (name, files[name])) for name in names[start : start + _FILES_A_REQUEST]]
            made += int(
                _object(self._slow.send("POST", f"/api/projects/{project_id}/import", files=parts))["task_count"]
            )
        return made

    # Annotations and predictions

    def create_annotation(self, task_id: int, result: Sequence[Json], **fields: object) -> Json:
        """Submit an annotation; `fields` such as `lead_time`, `was_cancelled`, `ground_truth`, `parent_prediction`."""
        body = {"result": list(result), **fields}
        return _object(self._slow.send("POST", f"/api/tasks/{task_id}/annotations/", body=body))

    def predictions(self, *, project_id: int | None = None, task_id: int | None = None) -> list[Json]:
        """Return the stored predictions of a project, or of a task."""
        query = {key: value for key, value in (("project", project_id), ("task", task_id)) if value is not None}
        if not query:
            raise BadInput("predictions() needs a project or a task: without one it would return everybody's")
        return _list(self._slow.get("/api/predictions/", **query))

    def create_prediction(self, task_id: int, *, result: Sequence[Json], score: float, model_version: str) -> Json:
        """Store a prediction with a task."""
        body = {"task": task_id, "result": list(result), "score": score, "model_version": model_version}
        return _object(self._session.send("POST", "/api/predictions/", body=body))

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

    # The data manager

    def views(self, project_id: int) -> list[Json]:
        """Return the tabs of the data manager: `id` and `data` with `title`, `ordering`, `filters`, ..."""
        return _list(self._session.get("/api/dm/views/", project=project_id))

    def save_view(  # noqa: PLR0913 - all by name
        self,
        project_id: int,
        title: str,
        *,
        ordering: Sequence[str] = (),
        filters: Sequence[Mapping[str, Any]] = (),
        conjunction: str = "and",
        shown: Sequence[str] = (),
    ) -> int:
        """Make a tab of the data manager, or give the one of this title a new order and filter; return its id.

        Safe to repeat, and what people changed of its columns stays. The editor makes its own tab "Default" only where
        there is none at all: so that one is made first. `tasks:predictions_score` orders by the scores of the version
        in `project.model_version`; while that is a backend's title, by nothing.

        Args:
            project_id: of the project.
            title: by which the tab is known again.
            ordering: such as ["tasks:predictions_score"], ["-tasks:id"].
            filters: all of which must hold, or, with the conjunction "or", one of which, such as
                {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}.
            conjunction: "and" or "or".
            shown: columns that a new tab shows besides the usual ones, such as "predictions_score".
        """
        views = self.views(project_id)
        wanted = {
            "title": title,
            "ordering": list(ordering),
            "filters": {"conjunction": conjunction, "items": list(filters)},
        }
        for view in views:
            if _object(view.get("data") or {}).get("title") == title:
                body = {"project": project_id, "data": _object(view["data"]) | wanted}
                return int(_object(self._session.send("PATCH", f"/api/dm/views/{view['id']}/", body=body))["id"])
        if not views:
            self._create_view(project_id, {"title": "Default"})
        hidden = {} if not shown else {"hiddenColumns": self._hidden_columns(project_id, shown=shown)}
        return self._create_view(project_id, {"type": "list", "target": "tasks", **hidden, **wanted})

    def _create_view(self, project_id: int, data: Json) -> int:
        body = {"project": project_id, "data": data}
        return int(_object(self._session.send("POST", "/api/dm/views/", body=body))["id"])

    def _hidden_columns(self, project_id: int, *, shown: Sequence[str]) -> dict[str, list[str]]:
        """What a tab hides in the table (`explore`) and beside the editor (`labeling`), by default but for `shown`."""
        columns = _list(_object(self._session.get("/api/dm/columns/", project=project_id)).get("columns"))

        def hidden(where: str, *, but: Sequence[str]) -> list[str]:
            return [
                f"tasks:{each['id']}"
                for each in columns
                if each.get("target", "tasks") == "tasks"
                and each["id"] not in but
                and not (each.get("visibility_defaults") or {}).get(where, True)
            ]

        return {"explore": hidden("explore", but=shown), "labeling": hidden("labeling", but=())}

    # The backend

    def connect_backend(
        self, project_id: int, *, url: str, title: str, basic_auth: tuple[str, str] | None = None
    ) -> int:
        """Register an interactive ML backend and its webhook in a project; return the backend's id. Safe to repeat.

        Label Studio's own webhook for a backend carries no credentials, so that a backend which asks for them would
        never hear of an annotation: here its headers get them. Further rows for the same URL are removed.

        Raises:
            BadInput: Label Studio cannot reach the backend, or takes no webhook for its host (one without a dot).
        """
        url = url.rstrip("/")
        body: Json = {"project": project_id, "url": url, "title": title, "is_interactive": True, "auth_method": "NONE"}
        if basic_auth:
            user, password = basic_auth
            body |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        known = [each for each in self.backends(project_id) if str(each["url"]).rstrip("/") == url]
        if known:
            backend = _object(self._slow.send("PATCH", f"/api/ml/{known[0]['id']}", body=body))
            for double in known[1:]:
                self._slow.send("DELETE", f"/api/ml/{double['id']}")
        else:
            backend = _object(self._slow.send("POST", "/api/ml/", body=body))
        self._connect_webhook(project_id, url=f"{url}/webhook", basic_auth=basic_auth)
        return int(backend["id"])

    def backends(self, project_id: int) -> list[Json]:
        """Return the ML backends of a project; Label Studio asks each for its health meanwhile."""
        return _list(self._slow.get("/api/ml/", project=project_id))

    def webhooks(self, project_id: int) -> list[Json]:
        """Return the webhooks of a project."""
        return _list(self._session.get("/api/webhooks/", project=project_id))

    def _connect_webhook(self, project_id: int, *, url: str, basic_auth: tuple[str, str] | None) -> None:
        headers = {}
        if basic_auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic_auth).encode()).decode()
        body = {
            "project": project_id,
            "url": url,
            "headers": headers,
            "is_active": True,
            "send_payload": True,
            "send_for_all_actions": True,
        }
        known = [each for each in self.webhooks(project_id) if each["url"] == url]
        if not known:
            try:
                self._session.send("POST", "/api/webhooks/", body=body)
            except BadInput as fault:
                raise BadInput(
                    f"the backend is connected and predicts, but it will not hear of annotations: {fault} "
                    "(Label Studio takes webhooks for a name with a dot, localhost or an IP address: use such a name)"
                ) from fault
            return
        self._session.send("PATCH", f"/api/webhooks/{known[0]['id']}/", body=body)
        for double in known[1:]:
            self._session.send("DELETE", f"/api/webhooks/{double['id']}/")

    def start_training(self, backend_id: int) -> None:
        """Press "Start training": Label Studio posts START_TRAINING to the backend's webhook before it answers."""
        self._slow.send("POST", f"/api/ml/{backend_id}/train", body={})

    def interactive(self, backend_id: int, task_id: int, context: Json) -> Json:
        """Ask the backend as the editor does; return its prediction.

        Raises:
            Upstream: the backend failed; Label Studio itself answers 200 all the same.
        """
        body = {"task": task_id, "context": context}
        reply = _object(self._slow.send("POST", f"/api/ml/{backend_id}/interactive-annotating", body=body))
        if "data" not in reply:
            raise Upstream(f"the backend gave no prediction: {str(reply.get('errors'))[:300]}")
        return _object(reply["data"])

    # Images

    def get_bytes(self, path_or_url: str, *, max_bytes: int, deadline_s: float) -> bytes:
        """Return the body at a path, or a URL, of this Label Studio; sends the key, and follows redirects within it.

        Args:
            path_or_url: "/data/upload/1/x.png", or a URL of the same scheme, host and port.
            max_bytes: most bytes of a body.
            deadline_s: most seconds in all.

        Raises:
            RedirectedElsewhere: to another host; its `location` must pass the URL policy and must not see the key.
        """
        until_s = time.monotonic() + deadline_s
        url = path_or_url if "://" in path_or_url else self.url + path_or_url
        for _ in range(_MOST_REDIRECTS + 1):
            if not same_origin(url, self.url):
                raise RedirectedElsewhere(url)
            header = self._session.credentials.header()
            reply = download(url, max_bytes=max_bytes, until_s=until_s, headers={"Authorization": header})
            if reply.status == HTTPStatus.UNAUTHORIZED and self._session.credentials.refused(header):
                continue
            if reply.location is None:
                return _image_bytes(reply, url)
            url = urljoin(url, reply.location)
        raise Upstream(f"{self.url} redirects {path_or_url[:80]!r} in circles")


def _image_bytes(reply: Reply, url: str) -> bytes:
    """The body, or the reason why there is none."""
    if reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise KeyRefused(
            f"Label Studio answered {reply.status} for {_shown(url)}: is LABEL_STUDIO_API_KEY right? "
            "(Local files also need LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED there.)"
        )
    if reply.status == HTTPStatus.NOT_FOUND:
        raise NotFound(f"Label Studio has no {_shown(url)}")
    if reply.status != HTTPStatus.OK:
        gone = ", as it does for an upload that is gone" if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR else ""
        raise Upstream(f"Label Studio answered {reply.status} for {_shown(url)}{gone}")
    return reply.body


def _shown(url: str) -> str:
    """The path alone: a query may hold a signature."""
    return urlsplit(url).path[:120]


def _object(reply: object) -> Json:
    if not isinstance(reply, dict):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where an object was expected")
    return reply


def _list(reply: object) -> list[Json]:
    """A list, or the one inside of a page."""
    if isinstance(reply, dict):
        reply = reply.get("results")
    if not isinstance(reply, list):
        raise Upstream(f"Label Studio answered {type(reply).__name__} where a list was expected")
    return reply
