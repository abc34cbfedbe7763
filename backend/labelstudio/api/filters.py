"""The data manager of a project: its tabs, and the filters that find tasks in it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backend.labelstudio.api.session import Json, Session, json_list, json_object

_LIST: Json = {"type": "list", "target": "tasks"}
_BESIDE_OURS = ("completed_at", "cancelled_annotations", "annotators")  # Label Studio's own tab shows them, ours do not


def number_filter(field: str, operator: str, value: int) -> Json:
    """Return a filter that compares a number of a task, such as ("total_annotations", "equal", 0)."""
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": "Number", "value": value}


def filter_untouched(task_id: int) -> Json:
    """Return a filter that passes this task while nobody has annotated it. A tab of many tasks joins them by "or".

    The API would take one "in_list" filter for many tasks, but the editor breaks on it.
    """
    return number_filter("id", "equal", task_id) | {"child_filter": number_filter("total_annotations", "equal", 0)}


class Tabs:
    """The data managers of one Label Studio. Raises as `LabelStudio` does. Safe for any number of threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upcoming(self, project_id: int, *, after: int, limit: int) -> list[Json]:
        """Return the tasks that the label stream is likely to bring after task `after`, without their annotations.

        Label Studio names the next task only to whoever takes it. So these are the tasks that nobody has annotated, in
        the project's order: by score in uncertainty sampling; else by id, from `after` to the end and then from the
        start. Random sampling is treated as an order by id.
        """
        project = json_object(self._session.get(f"/api/projects/{project_id}/"))
        by_score = str(project.get("sampling", "")).startswith("Uncertainty")
        tasks = self._list_unannotated(project_id, after=0 if by_score else after, limit=limit + 1, by_score=by_score)
        if len(tasks) <= limit and not by_score:
            tasks += self._list_unannotated(project_id, after=0, limit=limit + 1, by_score=False)
        unique = {int(task["id"]): task for task in tasks if task["id"] != after}
        return list(unique.values())[:limit]

    def _list_unannotated(self, project_id: int, *, after: int, limit: int, by_score: bool) -> list[Json]:
        items = [number_filter("total_annotations", "equal", 0), number_filter("id", "greater", after)]
        query = {
            "filters": {"conjunction": "and", "items": items},
            "ordering": ["tasks:predictions_score" if by_score else "tasks:id"],
        }
        reply = self._session.get("/api/tasks", project=project_id, page=1, page_size=limit, query=json.dumps(query))
        return json_list(json_object(reply).get("tasks"))

    def all(self, project_id: int) -> list[Json]:
        """Return the tabs of the data manager: `id` and `data` with `title`, `ordering`, `filters`, ..."""
        return json_list(self._session.get("/api/dm/views/", project=project_id))

    def save(  # noqa: PLR0913 - all by name
        self,
        project_id: int,
        title: str,
        *,
        ordering: Sequence[str] = (),
        filters: Sequence[Mapping[str, Any]] = (),
        conjunction: str = "and",
        shown: Sequence[str] = (),
    ) -> int:
        """Create a tab of the data manager, or give the tab of this title a new order and filter; return its id.

        Safe to repeat: people's choice of columns stays. The editor creates its tab "Default" only in a project without
        tabs, so we create that tab first, as the editor would. Our tabs hide columns that would push the image off the
        screen. `tasks:predictions_score` orders by the scores of the version in `project.model_version`, and not at all
        while that is a backend's title.

        Args:
            project_id: the project's id.
            title: identifies the tab.
            ordering: such as ["tasks:predictions_score"], ["-tasks:id"].
            filters: such as
                {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}.
            conjunction: "and" if a task must pass all filters, "or" if it must pass at least one.
            shown: columns that a new tab shows besides number, annotations, predictions and image, such as
                "predictions_score".
        """
        views = self.all(project_id)
        wanted = {
            "title": title,
            "ordering": list(ordering),
            "filters": {"conjunction": conjunction, "items": list(filters)},
        }
        for view in views:
            before = json_object(view.get("data") or {})
            if before.get("title") == title:
                hidden = {} if before.get("hiddenColumns") else self._hide_columns(project_id, shown=shown)
                body = {"project": project_id, "data": before | hidden | wanted}
                return int(json_object(self._session.send("PATCH", f"/api/dm/views/{view['id']}/", body=body))["id"])
        if not views:
            usual = {"title": "Default", "filters": {"conjunction": "and", "items": []}, "gridWidth": 4}
            self._create_view(project_id, _LIST | self._hide_columns(project_id, shown=_BESIDE_OURS) | usual)
        return self._create_view(project_id, _LIST | self._hide_columns(project_id, shown=shown) | wanted)

    def _create_view(self, project_id: int, data: Json) -> int:
        body = {"project": project_id, "data": data}
        return int(json_object(self._session.send("POST", "/api/dm/views/", body=body))["id"])

    def _hide_columns(self, project_id: int, *, shown: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """The part of a tab that lists what it hides in the table (`explore`) and beside the editor (`labeling`)."""
        columns = json_list(json_object(self._session.get("/api/dm/columns/", project=project_id)).get("columns"))

        def hidden(where: str, *, but: Sequence[str]) -> list[str]:
            return [
                f"tasks:{column['id']}"
                for column in columns
                if column.get("target", "tasks") == "tasks"
                and column["id"] not in but
                and (column["id"] in _BESIDE_OURS or not (column.get("visibility_defaults") or {}).get(where, True))
            ]

        return {"hiddenColumns": {"explore": hidden("explore", but=shown), "labeling": hidden("labeling", but=())}}
