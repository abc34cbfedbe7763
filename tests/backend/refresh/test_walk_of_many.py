"""A refresh keeps a page of a project, however large that is."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

from fakes.many_tasks import TOUCHED_EVERY, ManyTasks

from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.protocol import Answer
from backend.refresh.rules import Limits, Rules
from backend.refresh.tally import Tally
from backend.refresh.walk import Refresh

REGIONS = ({"id": "r", "value": {"rle": list(range(64))}},)


class Instant:
    """A backend that takes no time; a small mask a task."""

    def ask_served_version(self, project_id: int) -> str:
        return "v1"

    def predict(self, tasks: Sequence[Any], *, project_id: int, label_config: str) -> list[Answer]:
        return [Answer("v1", 0.5, REGIONS) for _ in tasks]


def refreshed(count: int) -> tuple[Tally, int, ManyTasks]:
    """What came of it, and the most bytes that Python held meanwhile."""
    with ManyTasks(count, version="v1") as studio:
        store = PredictionStore(studio.url, "0" * 40, project_id=1)
        walk = Refresh(
            store=store,
            backend=Instant(),
            rules=Rules(),
            progress=lambda *_, **__: None,
            check=lambda: None,
            limits=Limits(page=30, largest_batch=15),
        )
        tracemalloc.start()
        try:
            tally = walk.run()
            return tally, tracemalloc.get_traced_memory()[1], studio
        finally:
            tracemalloc.stop()


def test_memory_does_not_grow_with_the_project() -> None:
    """Ten small pages or thirty: the same. What is kept of a task would be a kilobyte."""
    few, few_bytes, _ = refreshed(300)
    many, many_bytes, studio = refreshed(900)
    assert (few.written, many.written) == (270, 810)
    assert [studio.held[task_id] for task_id in range(1, 901)] == [
        int(task_id % TOUCHED_EVERY != 0) for task_id in range(1, 901)
    ]
    assert studio.shown == "v1"
    assert many_bytes < few_bytes + (192 << 10)
