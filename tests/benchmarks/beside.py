"""What a training does to clicks beside it; rows of `make chaos`: `python tests/benchmarks/beside.py [--windows 20]`.

A worker trains on the demo's nuclei, on the cores of the server; first it encodes them. Spells of clicks in which it
runs and spells in which it is suspended take turns and have the same number of clicks, so that both have the same
machine and the same phases of the training. An annotator clicks, looks for a moment, and clicks again.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import requests
from benchmarks.clients import CLICKS, Clients, project
from benchmarks.pages import commit, machine, say
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from fakes.serving import Served, served
from support.processes import Processes
from support.waiting import wait_until

from backend.cli.demo.nuclei import sample_nuclei
from backend.cli.demo.samples import SampleImage
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.label_config import Control
from backend.settings import Settings

MOST_TIMES = 2.0  # what the p95 of a warm click may rise by
IMAGES, SPELL, WINDOWS = 24, 20, 20
_BRUSH = Control(kind="brushlabels", from_name="brush", to_name="image", labels=("Coin",))
_WORK = ("embedding", "training")  # phases
_LOOK_S = 0.05  # of an annotator at a mask
_LONG = {"SAMLOOP_EPOCHS": "1000", "SAMLOOP_FIRST_SECONDS": "0"}


@dataclass
class Beside:
    """How long warm clicks took, s, by whether the training ran."""

    taken_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    def p95_s(self, *, training: bool) -> float:
        """What 95 of 100 clicks take at most."""
        return float(np.percentile(self.taken_s[training], 95))

    @property
    def times(self) -> float:
        """How many times as long a click takes beside a training: the p95 with by the p95 without."""
        return self.p95_s(training=True) / self.p95_s(training=False)

    def list_rows(self) -> list[tuple[str, int | float]]:
        """Rows of a table."""
        return [
            ("beside a training: warm clicks", len(self.taken_s[True])),
            ("beside a training: p95 of a warm click, ms", round(self.p95_s(training=True) * 1e3)),
            ("without: p95 of a warm click, ms", round(self.p95_s(training=False) * 1e3)),
            (f"beside a training: p95, times that without ({MOST_TIMES:.0f} at most)", round(self.times, 2)),
        ]


def run_beside(folder: Path, *, windows: int = WINDOWS, weights: Path | None = None) -> Beside:
    """Click in so many spells of either kind, while a worker trains.

    Args:
        folder: an empty folder.
        windows: how many spells of either kind: half of them while it encodes, and half while it takes steps.
        weights: the folder of base weights that are there already.
    """
    samples = sample_nuclei()[:IMAGES]
    with project([sample.png for sample in samples]) as (studio, project_id, tasks):
        annotate(studio, project_id, samples)
        environ = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": studio.token, **_LONG}
        with served(folder / "server", environ=environ, weights=weights) as server, Processes() as processes:
            clients = Clients(server.url, project_id=project_id, tasks=tasks)
            clients.everywhere()
            requests.post(f"{server.url}/train", json={"project": project_id}, timeout=60).raise_for_status()
            worker = processes.start("worker", environ=server.environ | _own_cache(folder, weights))
            horse = wait_until(lambda: next(iter(list_children(worker.pid)), None), seconds=120.0)
            beside = Beside()
            for phases in (_WORK, _WORK[1:]):  # from the first image on, and then from the first step on
                wait_until(lambda phases=phases: read_phase(server, project_id) in phases, seconds=300.0)
                _take_turns(beside, clients, horse=horse, windows=windows // 2)
            return beside


def _own_cache(folder: Path, weights: Path | None) -> dict[str, str]:
    """A cache without embeddings: a worker with the server's would find all images encoded."""
    cache = folder / "worker"
    cache.mkdir()
    if weights is not None and weights.is_dir():
        (cache / "weights").symlink_to(weights)
    return {"SAMLOOP_CACHE_DIR": str(cache)}


def annotate(studio: FakeLabelStudio, project_id: int, samples: tuple[SampleImage, ...]) -> None:
    """Submit the known masks of every task's image."""
    client = LabelStudio(studio.url, studio.token)
    tasks = sorted(client.tasks(project_id), key=lambda task: int(task["id"]))
    for task, sample in zip(tasks, samples, strict=True):
        regions = [
            brush_region(
                item.mask, control=_BRUSH, label="Coin", score=1.0, model_version="a person", region_id=f"r{number}"
            )
            for number, item in enumerate(sample.objects)
        ]
        client.create_annotation(task["id"], regions)


def list_children(pid: int) -> list[int]:
    """The processes that this process started and that run."""
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def read_phase(server: Served, project_id: int) -> str | None:
    """What the project's training does; None before it says so, while it loads its libraries."""
    status = requests.get(f"{server.url}/projects/{project_id}/status", timeout=60).json()
    return (status["progress"] or {}).get("phase")


@contextlib.contextmanager
def suspended(pid: int) -> Iterator[None]:
    """A process that stands still during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _take_turns(beside: Beside, clients: Clients, *, horse: int, windows: int) -> None:
    with requests.Session() as session:
        for number in range(windows):
            with suspended(horse):
                beside.taken_s[False] += _click(clients, session, first=number * SPELL)
            beside.taken_s[True] += _click(clients, session, first=number * SPELL)


def _click(clients: Clients, session: requests.Session, *, first: int) -> list[float]:
    """The seconds of a spell's clicks, on one image after the other."""
    taken_s = []
    for number in range(first, first + SPELL):
        time.sleep(_LOOK_S)
        answer = clients.click(session, (number % IMAGES, number // IMAGES % len(CLICKS)))
        if answer.status != 200 or answer.cold:
            raise SystemExit(
                f"a click was answered with {answer.status}, or was cold: it says nothing about a warm one"
            )
        taken_s.append(answer.seconds)
    return taken_s


def find_weights() -> Path:
    """The folder of base weights of whoever runs this."""
    return Settings.from_env().cache.dir / "weights"


def main() -> None:
    """Run it and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    given = parser.parse_args()
    where = f"{machine()}; commit {commit()}"
    with tempfile.TemporaryDirectory() as folder:
        beside = run_beside(Path(folder), windows=given.windows, weights=find_weights())
    for name, count in beside.list_rows():
        say(f"{count:9}  {name}")
    say(where)
    sys.exit(1 if beside.times > MOST_TIMES else 0)


if __name__ == "__main__":
    main()
