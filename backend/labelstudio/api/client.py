"""Label Studio's API, as far as samloop needs it. Answers are Label Studio's JSON as it stands."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from backend.errors import BadInput, NotFound, SamloopError, SettingsError
from backend.labelstudio.api.annotations import Annotations
from backend.labelstudio.api.backends import Backends
from backend.labelstudio.api.files import get_bytes
from backend.labelstudio.api.filters import Tabs, number_filter
from backend.labelstudio.api.session import AddressPolicy, Json, Session, json_list, json_object
from backend.settings import Settings

# The next step wherever a Label Studio is needed and none is known.
NAME_LABEL_STUDIO = "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"

# Django reads 100 files a request at most.
_FILES_A_REQUEST = 50
_PROJECTS_A_PAGE, _MOST_PROJECTS = 100, 1000
_MOST_NAMED = 20
_CHANGED_A_PAGE = 50
_OF_A_PROJECT = "id,title,task_number,num_tasks_with_annotations"
# Label Studio itself waits 100 s for a backend before it answers.
_PREDICT_S = 110.0


class LabelStudio:
    """One Label Studio, seen with one API key. Safe for any number of threads.

    Args:
        url: where it answers; a path is kept.
        api_key: a legacy token or a personal access token.
        timeout_s: longest silence of a connection.
        public_url: where browsers reach it; None: at `url`.
        policy: what the address must pass where a stranger named it; None where the settings name it.

    Every method raises KeyRefused (401, 403), NotFound (404), BadInput (400: what Label Studio refuses) and Upstream
    (it is away, fails, or is no Label Studio); reading is tried again while the failure may pass.

    Attributes:
        url, public_url: without a slash at the end.
        tabs, backends, annotations: its data manager's tabs, its ML backends, its annotations.
        name: tells apart this address and key from any other, without showing the key.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        public_url: str | None = None,
        policy: AddressPolicy | None = None,
    ) -> None:
        self._session = Session(url, api_key, timeout_s=timeout_s, policy=policy)
        self._slow = Session(url, api_key, timeout_s=max(timeout_s, _PREDICT_S), policy=policy)
        self.url, self.name = self._session.url, self._session.name
        self.tabs = Tabs(self._session)
        self.backends = Backends(self._session, slow=self._slow)
        self.annotations = Annotations(self._slow)
        self.public_url = (public_url or self.url).rstrip("/")

    def whoami(self) -> str:
        """Return the e-mail address of the key's owner."""
        return str(json_object(self._session.get("/api/current-user/whoami"))["email"])

    # Projects and tasks

    def project(self, project_id: int, *, is_patient: bool = True) -> Json:
        """Return the project: `label_config`, `model_version`, ...; asked once where somebody waits for a page.

        Raises:
            NotFound: there is none, or the key may not see it; names the projects that it sees.
        """
        ask = self._session.get if is_patient else functools.partial(self._session.send, "GET")
        try:
            return json_object(ask(f"/api/projects/{project_id}/"))
        except NotFound as fault:
            raise NotFound(
                f"{self.url}: Label Studio has no project {project_id}, or this key may not see it; {self._list_ids()}"
            ) from fault

    def _list_ids(self) -> str:
        """What to choose from: "it has 1, 2"."""
        try:
            ids = sorted(int(row["id"]) for row in self.projects())
        except SamloopError:
            return "its projects could not be listed"
        more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
        return f"it has {', '.join(map(str, ids[:_MOST_NAMED]))}{more}" if ids else "it has none that this key sees"

    def projects(self) -> list[Json]:
        """Return at most 1000 projects that the key sees: `id`, `title` and the numbers of tasks. Asked once a page."""
        found: list[Json] = []
        for page in range(1, _MOST_PROJECTS // _PROJECTS_A_PAGE + 1):
            query = {"page": page, "page_size": _PROJECTS_A_PAGE, "include": _OF_A_PROJECT}
            reply = json_object(self._session.send("GET", "/api/projects/", query=query))
            found += json_list(reply.get("results"))
            if not reply.get("next"):
                break
        return found

    def create_project(self, title: str, label_config: str, **fields: object) -> Json:
        """Create a project and return it; `fields` as Label Studio names them."""
        body = {"title": title, "label_config": label_config, **fields}
        return json_object(self._session.send("POST", "/api/projects/", body=body))

    def update_project(self, project_id: int, **fields: object) -> Json:
        """Change fields of a project, such as `model_version`, and return it."""
        return json_object(self._session.send("PATCH", f"/api/projects/{project_id}/", body=fields))

    def tasks(self, project_id: int, *, page_size: int = 100) -> Iterator[Json]:
        """Yield every task with its annotations and predictions, page by page; none twice.

        Raises:
            NotFound: before the first task, where there is no such project.
        """
        seen: set[int] = set()
        for page in count(1):
            query = {"project": project_id, "fields": "all", "page": page, "page_size": page_size}
            try:
                reply = json_object(self._slow.get("/api/tasks", **query))
            except NotFound:
                if page == 1:
                    self.project(project_id)
                return  # a page past the last
            found = [task for task in json_list(reply.get("tasks")) if task["id"] not in seen]
            seen.update(task["id"] for task in found)
            yield from found
            if not reply["tasks"] or len(seen) >= int(reply.get("total") or 0):
                return

    def list_annotated_since(self, project_id: int, *, after: str, most: int) -> Iterator[Json]:
        """Yield at most `most` annotated tasks that changed after a date, with their annotations, oldest change first.

        `after` is in UTC, as "2026-01-05T09:30:00.000000Z": the data manager asks for the fraction.
        """
        items = [
            number_filter("total_annotations", "greater", 0),
            {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": after},
        ]
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:updated_at"]}
        asked = {"project": project_id, "fields": "all", "page_size": _CHANGED_A_PAGE, "query": json.dumps(query)}
        for page in range(1, -(-most // _CHANGED_A_PAGE) + 1):
            reply = json_object(self._slow.send("GET", "/api/tasks", query=asked | {"page": page}))
            yield from json_list(reply.get("tasks"))
            if page * _CHANGED_A_PAGE >= int(reply.get("total") or 0):
                return

    def task(self, task_id: int) -> Json:
        """Return one task with its annotations and predictions."""
        return json_object(self._session.get(f"/api/tasks/{task_id}/"))

    def import_images(self, project_id: int, files: Mapping[str, bytes]) -> int:
        """Upload images, by file name, and make tasks of them; return how many."""
        names, made = list(files), 0
        for start in range(0, len(names), _FILES_A_REQUEST):
            parts = [(name, (name, files[name])) for name in names[start : start + _FILES_A_REQUEST]]
            made += int(
                json_object(self._slow.send("POST", f"/api/projects/{project_id}/import", files=parts))["task_count"]
            )
        return made

    # Annotations and predictions

    def create_annotation(self, task_id: int, result: Sequence[Json], **fields: object) -> Json:
        """Submit an annotation; `fields` such as `lead_time`, `was_cancelled`, `ground_truth`, `parent_prediction`."""
        body = {"result": list(result), **fields}
        return json_object(self._slow.send("POST", f"/api/tasks/{task_id}/annotations/", body=body))

    def predictions(self, *, project_id: int | None = None, task_id: int | None = None) -> list[Json]:
        """Return the stored predictions of a project, or of a task."""
        query = {key: value for key, value in (("project", project_id), ("task", task_id)) if value is not None}
        if not query:
            raise BadInput("predictions() needs a project or a task: without one it would return everybody's")
        return json_list(self._slow.get("/api/predictions/", **query))

    def get_bytes(self, path_or_url: str, *, max_bytes: int, deadline_s: float) -> bytes:
        """Return the body at a path, or a URL, of this Label Studio, within so many bytes and seconds.

        Raises:
            RedirectedElsewhere: to another host; its `location` must pass the URL policy and must not see the key.
        """
        return get_bytes(self._session, path_or_url, max_bytes=max_bytes, deadline_s=deadline_s)


def label_studio_of(settings: Settings, *, where: str = "here") -> LabelStudio:
    """Return the Label Studio that the environment names. Raises as `address_and_key`."""
    url, key = address_and_key(settings, where=where)
    return LabelStudio(url, key, public_url=settings.label_studio.public_url)


def address_and_key(settings: Settings, *, where: str = "here") -> tuple[str, str]:
    """Return where Label Studio answers, and the key for it, as the environment names them.

    Raises:
        SettingsError: one is not set; `where`, such as "where the worker runs", is what the error calls the place.
    """
    url, key = settings.label_studio.url, settings.label_studio.api_key
    if not url or not key:
        raise SettingsError(
            f"LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set {where}: set both "
            "(Label Studio shows the key under Account & Settings -> Access Token)"
        )
    return url, key
