"""The calls of Label Studio's API that samloop makes. They return Label Studio's JSON unchanged."""

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

# The next step in every error that a missing Label Studio causes.
NAME_LABEL_STUDIO = "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"

# Django reads at most 100 files from a request.
_FILES_A_REQUEST = 50
_PROJECTS_A_PAGE, _MOST_PROJECTS = 100, 1000
_MOST_NAMED = 20
_CHANGED_A_PAGE = 50
_OF_A_PROJECT = "id,title,task_number,num_tasks_with_annotations"
# Label Studio waits 100 s for a backend before it answers.
_PREDICT_S = 110.0


class LabelStudio:
    """One Label Studio, seen with one API key. Safe for any number of threads.

    Every method raises KeyRefused (401, 403), NotFound (404), BadInput (400: Label Studio refuses the request) and
    Upstream (Label Studio cannot be reached, fails, or is another program). A request that only reads is repeated as
    long as the failure may pass.

    Args:
        url: where Label Studio answers; may hold a path.
        api_key: a legacy token or a personal access token.
        timeout_s: the longest silence of a connection, s.
        public_url: where browsers reach Label Studio; None means `url`.
        policy: checks an address that a stranger named; None for an address from the settings.

    Attributes:
        url, public_url: without a slash at the end.
        tabs: the tabs of its data managers.
        backends: its ML backends.
        annotations: its annotations: how many there are, and which were deleted.
        name: identifies this address and key without showing the key.
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
        """Return the project: `label_config`, `model_version`, ...

        Args:
            project_id: Label Studio's id.
            is_patient: whether a failure is worth another try; False while somebody waits for a page.

        Raises:
            NotFound: there is no such project, or the key may not see it. The message lists the projects that it sees.
        """
        ask = self._session.get if is_patient else functools.partial(self._session.send, "GET")
        try:
            return json_object(ask(f"/api/projects/{project_id}/"))
        except NotFound as fault:
            raise NotFound(
                f"{self.url}: Label Studio has no project {project_id}, or this key may not see it; {self._list_ids()}"
            ) from fault

    def _list_ids(self) -> str:
        """The ids that a user can choose from, as "it has 1, 2"."""
        try:
            ids = sorted(int(row["id"]) for row in self.projects())
        except SamloopError:
            return "its projects could not be listed"
        more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
        return f"it has {', '.join(map(str, ids[:_MOST_NAMED]))}{more}" if ids else "it has none that this key sees"

    def projects(self) -> list[Json]:
        """Return at most 1000 projects that the key sees: `id`, `title`, how many tasks, how many of them annotated.

        Every page is asked for once, without a second try.
        """
        rows: list[Json] = []
        for page in range(1, _MOST_PROJECTS // _PROJECTS_A_PAGE + 1):
            query = {"page": page, "page_size": _PROJECTS_A_PAGE, "include": _OF_A_PROJECT}
            reply = json_object(self._session.send("GET", "/api/projects/", query=query))
            rows += json_list(reply.get("results"))
            if not reply.get("next"):
                break
        return rows

    def create_project(self, title: str, label_config: str, **fields: object) -> Json:
        """Create a project and return it; `fields` have Label Studio's names."""
        body = {"title": title, "label_config": label_config, **fields}
        return json_object(self._session.send("POST", "/api/projects/", body=body))

    def update_project(self, project_id: int, **fields: object) -> Json:
        """Change fields of a project, such as `model_version`, and return it."""
        return json_object(self._session.send("PATCH", f"/api/projects/{project_id}/", body=fields))

    def tasks(self, project_id: int, *, page_size: int = 100) -> Iterator[Json]:
        """Yield every task once, with its annotations and predictions.

        Raises:
            NotFound: there is no such project; raised before the first task.
        """
        seen: set[int] = set()
        for page in count(1):
            query = {"project": project_id, "fields": "all", "page": page, "page_size": page_size}
            try:
                reply = json_object(self._slow.get("/api/tasks", **query))
            except NotFound:
                if page == 1:
                    self.project(project_id)
                return  # the page after the last
            new = [task for task in json_list(reply.get("tasks")) if task["id"] not in seen]
            seen.update(task["id"] for task in new)
            yield from new
            if not reply["tasks"] or len(seen) >= int(reply.get("total") or 0):
                return

    def list_annotated_since(self, project_id: int, *, after: str, most: int) -> Iterator[Json]:
        """Yield at most `most` annotated tasks that changed after a date, with their annotations, oldest change first.

        `after` is a date in UTC such as "2026-01-05T09:30:00.000000Z"; the data manager insists on the fraction.
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
        """Upload images, by file name, as tasks; return how many tasks this made."""
        names, made = list(files), 0
        for start in range(0, len(names), _FILES_A_REQUEST):
            parts = [(name, (name, files[name])) for name in names[start : start + _FILES_A_REQUEST]]
            made += int(
                json_object(self._slow.send("POST", f"/api/projects/{project_id}/import", files=parts))["task_count"]
            )
        return made

    # Annotations and predictions

    def create_annotation(self, task_id: int, result: Sequence[Json], **fields: object) -> Json:
        """Submit an annotation and return it.

        Args:
            task_id: the task's id.
            result: the regions.
            **fields: such as `lead_time`, `was_cancelled`, `ground_truth`, `parent_prediction`.
        """
        body = {"result": list(result), **fields}
        return json_object(self._slow.send("POST", f"/api/tasks/{task_id}/annotations/", body=body))

    def predictions(self, *, project_id: int | None = None, task_id: int | None = None) -> list[Json]:
        """Return the stored predictions of a project, or of a task."""
        query = {key: value for key, value in (("project", project_id), ("task", task_id)) if value is not None}
        if not query:
            raise BadInput("predictions() needs a project or a task: without one it would return everybody's")
        return json_list(self._slow.get("/api/predictions/", **query))

    def get_bytes(self, path_or_url: str, *, max_bytes: int, deadline_s: float) -> bytes:
        """Return the body at a path or a URL of this Label Studio, as `files.get_bytes` does.

        Raises:
            RedirectedElsewhere: the file lies on another host. Its `location` must pass the URL policy and must not get
                the key.
        """
        return get_bytes(self._session, path_or_url, max_bytes=max_bytes, deadline_s=deadline_s)


def label_studio_of(settings: Settings, *, where: str = "here") -> LabelStudio:
    """Return the Label Studio that the environment names. Raises as `address_and_key` does."""
    url, key = address_and_key(settings, where=where)
    return LabelStudio(url, key, public_url=settings.label_studio.public_url)


def address_and_key(settings: Settings, *, where: str = "here") -> tuple[str, str]:
    """Return Label Studio's address and the key for it, from the environment.

    Args:
        settings: read from the environment.
        where: what an error calls the place, such as "where the worker runs".

    Raises:
        SettingsError: the address or the key is not set.
    """
    url, key = settings.label_studio.url, settings.label_studio.api_key
    if not url or not key:
        raise SettingsError(
            f"LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY is not set {where}: set both "
            "(Label Studio shows the key under Account & Settings -> Access Token)"
        )
    return url, key
