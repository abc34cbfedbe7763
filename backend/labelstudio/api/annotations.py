"""The annotations of a project: counts them, and finds deleted ones."""

import json
from collections.abc import Iterator, Sequence

from backend.errors import NotFound
from backend.labelstudio.api.session import Session, json_list, json_object

_IDS_A_REQUEST = 200  # a request's first line may have at most 4 KiB


class Annotations:
    """The annotations of one Label Studio. Raises as `LabelStudio` does. Safe for any number of threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def count(self, project_id: int) -> int:
        """Return how many annotations the project has; a skipped annotation does not count."""
        query = {"include": "total_annotations_number"}
        project = json_object(self._session.send("GET", f"/api/projects/{project_id}/", query=query))
        return int(project.get("total_annotations_number") or 0)

    def find_deleted(self, project_id: int, annotation_ids: Sequence[int]) -> list[int]:
        """Return those of these annotations that the project no longer has.

        The data manager cuts the ids of a task's annotations after 500 characters. So we ask for every annotation that
        it does not show.
        """
        return [
            annotation_id
            for start in range(0, len(annotation_ids), _IDS_A_REQUEST)
            for annotation_id in self._list_hidden(project_id, annotation_ids[start : start + _IDS_A_REQUEST])
            if self._is_gone(annotation_id)
        ]

    def _list_hidden(self, project_id: int, ids: Sequence[int]) -> list[int]:
        return sorted(set(ids) - set(self._list_shown(project_id, ids)))

    def _list_shown(self, project_id: int, ids: Sequence[int]) -> Iterator[int]:
        """Yield the ids of annotations that the data manager shows for the tasks of these annotations."""
        item = {
            "filter": "filter:tasks:annotations_ids",
            "operator": "contains",
            "type": "String",
            "value": " ".join(map(str, ids)),
        }
        query = {"filters": {"conjunction": "and", "items": [item]}, "ordering": ["tasks:id"]}
        asked = {"project": project_id, "page": 1, "page_size": len(ids), "query": json.dumps(query)}
        for task in json_list(json_object(self._session.send("GET", "/api/tasks", query=asked)).get("tasks")):
            shown = str(task.get("annotations_ids") or "").replace(",", " ").split()
            yield from (int(text) for text in shown if text.isdecimal())

    def _is_gone(self, annotation_id: int) -> bool:
        try:
            self._session.send("GET", f"/api/annotations/{annotation_id}/")
        except NotFound:
            return True
        return False
