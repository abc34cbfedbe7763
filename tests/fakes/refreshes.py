"""A backend that is played over HTTP, and a worker that refreshes with it: real Valkey, real processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.label_studio import FakeLabelStudio
from fakes.server import Answer, FakeServer, Request
from fakes.studio_setup import StudioSetup
from fakes.training import ROOT
from redis import Redis

from backend.labelstudio.api.client import LabelStudio
from backend.work.connection import connect
from backend.work.embedded import Valkey
from backend.work.follower import refresh_queue
from backend.work.queue import TrainingQueue

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)


class PlayedBackend(FakeServer):
    """Serves `version`; `hold()` keeps it from answering a batch until `release()`."""

    def __init__(self) -> None:
        super().__init__()
        self.version = "v1"
        self.predicted: list[list[int]] = []
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def answer(self, request: Request) -> Answer:
        if request.path == "/versions":
            return Answer(200, {"versions": [self.version], "served": self.version})
        self.predicted.append([task["id"] for task in request.json()["tasks"]])
        assert self._free.wait(120)
        one = {"result": [], "score": 0.5, "model_version": self.version}
        return Answer(200, {"results": [one for _ in request.json()["tasks"]]})


@dataclass(frozen=True)
class RefreshLab:
    """A project of twelve tasks in a fake Label Studio, a played backend, a real queue, and workers on demand."""

    folder: Path
    studio: FakeLabelStudio
    backend: PlayedBackend
    connection: Redis
    url: str
    queue: TrainingQueue
    project_id: int
    client: LabelStudio
    settings: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker that refreshes, killed at the end if it still runs."""
        environ = {
            **os.environ,
            "REDIS_URL": self.url,
            "MODEL_DIR": str(self.folder / "models"),
            "PYTHONPATH": str(ROOT),
            "LABEL_STUDIO_URL": self.studio.url,
            "LABEL_STUDIO_API_KEY": self.studio.token,
            "SAMLOOP_BACKEND_URL": self.backend.url,
            "SAMLOOP_REFRESH_RATE": "0",
            **self.settings,
        }
        with (
            (self.folder / "worker.log").open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", "backend", "worker", "--refresh"], cwd=ROOT, env=environ, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                self.backend.release()
                process.kill()

    def held(self) -> dict[int, list[Any]]:
        """The versions of each task's predictions."""
        found: dict[int, list[Any]] = {int(task["id"]): [] for task in self.client.tasks(self.project_id)}
        for prediction in self.client.predictions(project_id=self.project_id):
            found[prediction["task"]].append(prediction["model_version"])
        return found


@contextmanager
def refresh_lab(folder: Path) -> Iterator[RefreshLab]:
    """A lab in this folder."""
    with FakeLabelStudio() as studio, PlayedBackend() as backend, Valkey(folder / "queue") as valkey:
        url = valkey.start()
        client = StudioSetup(studio.url, studio.token)
        project_id = int(client.create_project("p", CONFIG)["id"])
        client.import_tasks(project_id, [{"data": {"image": f"/{number}.png"}} for number in range(12)])
        with connect(url) as connection:
            yield RefreshLab(folder, studio, backend, connection, url, refresh_queue(connection), project_id, client)
