"""The data manager of a project: its tabs, and the filters by which it finds tasks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from backend.labelstudio.api.session import Json, Session, json_list, json_object


def number_filter(field: str, operator: str, value: int) -> Json:
    """Return a filter on a number of a task, such as ("total_annotations", "equal", 0)."""
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": "Number", "value": value}


class Tabs:
    """The data managers of one Label Studio. Raises as `LabelStudio` does. Safe for any number of threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def upcoming(self, project_id: int, *, after: int, limit: int) -> list[Json]:
        """Return the tasks that the label stream is likely to bring after task `after`, without their annotations.

        Label Studio tells what comes next only by taking it: so these are the tasks that nobody annotated, in the
        project's order: by id from `after` on, then from the start; by score in uncertainty sampling; where the order
        is random, by id too.
        """
        project = json_object(self._session.get(f"/api/projects/{project_id}/"))
        by_score = str(project.get("sampling", "")).startswith("Uncertainty")
        found = self._not_annotated(project_id, after=0 if by_score else after, limit=limit + 1, by_score=by_score)
        if len(found) <= limit and not by_score:
            found += self._not_annotated(project_id, after=0, limit=limit + 1, by_score=False)
        unique = {int(task["id"]): task for task in found if task["id"] != after}
        return list(unique.values())[:limit]

    def _not_annotated(self, project_id: int, *, after: int, limit: int, by_score: bool) -> list[Json]:
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
        views = self.all(project_id)
        wanted = {
            "title": title,
            "ordering": list(ordering),
            "filters": {"conjunction": conjunction, "items": list(filters)},
        }
        for view in views:
            if json_object(view.get("data") or {}).get("title") == title:
                body = {"project": project_id, "data": json_object(view["data"]) | wanted}
                return int(json_object(self._session.send("PATCH", f"/api/dm/views/{view['id']}/", body=body))["id"])
        if not views:
            self._create_view(project_id, {"title": "Default"})
        hidden = {} if not shown else {"hiddenColumns": self._hidden_columns(project_id, shown=shown)}
        return self._create_view(project_id, {"type": "list", "target": "tasks", **hidden, **wanted})

    def _create_view(self, project_id: int, data: Json) -> int:
        body = {"project": project_id, "data": data}
        return int(json_object(self._session.send("POST", "/api/dm/views/", body=body))["id"])

    def _hidden_columns(self, project_id: int, *, shown: Sequence[str]) -> dict[str, list[str]]:
        """What a tab hides in the table (`explore`) and beside the editor (`labeling`), by default but for `shown`."""
        columns = json_list(json_object(self._session.get("/api/dm/columns/", project=project_id)).get("columns"))

        def hidden(where: str, *, but: Sequence[str]) -> list[str]:
            return [
                f"tasks:{column['id']}"
                for column in columns
                if column.get("target", "tasks") == "tasks"
                and column["id"] not in but
                and not (column.get("visibility_defaults") or {}).get(where, True)
            ]

        return {"explore": hidden("explore", but=shown), "labeling": hidden("labeling", but=())}
