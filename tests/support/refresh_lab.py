"""A project that is refreshed with a played backend, on a fake Label Studio over real HTTP."""

from collections.abc import Callable, Sequence
from typing import Any

from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from support.clock import HandClock

from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.protocol import Answer
from backend.refresh.rules import Rules
from backend.refresh.tally import Tally
from backend.refresh.walk import Refresh

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)
Json = dict[str, Any]


class Played:
    """A backend that answers at once; `versions` are those it serves, one after another, from task to task."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.asked: list[list[int]] = []
        self.bodies: dict[int, Json] = {}
        self.why: dict[int, str] = {}
        self.label = "Coin"
        self.before_answer: Callable[[list[int]], None] = lambda _: None

    def ask_served_version(self, project_id: int) -> str:
        return self.versions[0]

    def predict(self, tasks: Sequence[Json], *, project_id: int, label_config: str) -> list[Answer]:
        assert label_config == CONFIG
        ids = [task["id"] for task in tasks]
        self.bodies |= {task["id"]: task for task in tasks}
        self.asked.append(ids)
        self.before_answer(ids)
        return [self._answer(task_id) for task_id in ids]

    def _answer(self, task_id: int) -> Answer:
        version = self.versions[0]
        if why := self.why.get(task_id):
            return Answer(version, why=why)
        value = {"format": "rle", "rle": [1], "brushlabels": [self.label]}
        region = {"id": "r", "type": "brushlabels", "value": value, "meta": {"model_version": version}}
        return Answer(version, 0.5, (region,))


class Lab:
    """A project of ten tasks, its store, and a refresh on demand; its pauses take no time."""

    def __init__(self, studio: FakeLabelStudio, tasks: int = 10) -> None:
        self.studio, self.client = studio, StudioSetup(studio.url, studio.token)
        self.project_id = int(self.client.create_project("p", CONFIG)["id"])
        self.client.import_tasks(self.project_id, [{"data": {"image": f"/{n}.png"}} for n in range(tasks)])
        self.store = PredictionStore(studio.url, studio.token, project_id=self.project_id)
        self.ids = sorted(task["id"] for task in self.client.tasks(self.project_id))
        self.told: list[Json] = []
        self.clock, self.paused_s = HandClock(), 0.0

    def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.paused_s += seconds

    def refresh(self, backend: Played, *, check: Callable[[], None] = lambda: None, **rules: Any) -> Tally:
        def progress(phase: str, **figures: Any) -> None:
            self.told.append({"phase": phase, **figures})

        known = {"ours": ("base", "v1", "v2"), "patience_s": 20.0}
        return Refresh(
            store=self.store,
            backend=backend,
            rules=Rules(**(known | rules)),
            progress=progress,
            check=check,
            clock=self.clock,
            sleep=self.pause,
        ).run()

    def versions(self, task_id: int) -> list[str]:
        return sorted(stored["model_version"] for stored in self.client.predictions(task_id=task_id))

    def draft(self, task_id: int) -> None:
        self.store._session.send("POST", f"/api/tasks/{task_id}/drafts", body={"result": []})
