"""The rows of the fake Label Studio: projects, tasks, annotations and all that belongs to them, numbered from 1."""

import threading
from typing import Any

from fakes.server import FakeServer

Json = dict[str, Any]
NOW = "2026-11-23T07:21:19.438495Z"


class StudioRows(FakeServer):
    """What the parts of FakeLabelStudio share."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        super().__init__(address=address)
        self.now = NOW  # when what is made or changed from here on was
        self._lock = threading.RLock()
        self._rows: dict[str, dict[int, Json]] = {
            kind: {} for kind in ("project", "task", "annotation", "draft", "prediction", "ml", "webhook", "view")
        }
        self._last: dict[str, int] = {}

    def _new(self, kind: str, row: Json) -> Json:
        with self._lock:
            self._last[kind] = self._last.get(kind, 0) + 1
            row = {"id": self._last[kind], "created_at": self.now, "updated_at": self.now} | row
            self._rows[kind][row["id"]] = row
            return row

    def _of(self, kind: str, **where: Any) -> list[Json]:
        return [row for row in self._rows[kind].values() if all(row[key] == value for key, value in where.items())]
