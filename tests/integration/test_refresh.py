"""After a promotion: real Label Studio, backend and worker, a kill, and what Label Studio holds then."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from fakes.serving import ROOT, Served, served
from fakes.training import alive, kill
from support.checkpoints import make_manifest
from support.pictures import encode_image
from support.waiting import wait_until

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.predictions import PredictionStore
from backend.registry.local import LocalRegistry
from backend.sam.loading import decoder_bytes, decoder_of, load_base
from backend.work.embedded import find_live_url

pytestmark = pytest.mark.label_studio
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Disc"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="Disc"/></RectangleLabels></View>"""
TASKS, RATE = 30, 12.0


class Story:
    """A project whose tasks hold a detector's boxes; three of them were touched."""

    def __init__(self, studio: LabelStudioProcess) -> None:
        self.studio, self.client = studio, LabelStudio(studio.url, studio.token)
        self.project_id = int(self.client.create_project("refresh", CONFIG)["id"])
        rng = np.random.default_rng(0)
        pictures = {f"{n:02d}.png": _png(rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)) for n in range(TASKS)}
        self.client.import_images(self.project_id, pictures)
        self.ids = sorted(int(task["id"]) for task in self.client.tasks(self.project_id))
        store = PredictionStore(studio.url, studio.token, project_id=self.project_id)
        store.add(
            [{"task": task_id, "result": [_box()], "score": 0.5, "model_version": "detector"} for task_id in self.ids]
        )
        self.client.create_annotation(self.ids[0], [])
        self.client.create_annotation(self.ids[1], [], was_cancelled=True)
        self.post(f"/api/tasks/{self.ids[2]}/drafts", {"result": [_box()], "lead_time": 1})
        self.touched = set(self.ids[:3])

    def post(self, path: str, body: Any) -> None:
        headers = {"Authorization": f"Token {self.studio.token}"}
        requests.post(self.studio.url + path, headers=headers, json=body, timeout=30).raise_for_status()

    def held(self, version: str) -> dict[int, int]:
        """How many predictions of a version each task holds, as the predictions API tells."""
        count = dict.fromkeys(self.ids, 0)
        for prediction in self.client.predictions(project_id=self.project_id):
            count[prediction["task"]] += prediction["model_version"] == version
        return count


def _png(pixels: Any) -> bytes:
    return encode_image(pixels)


def _box() -> dict[str, Any]:
    value = {"x": 20, "y": 20, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Disc"]}
    return {
        "id": "b",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": value,
        "original_width": 48,
        "original_height": 32,
        "image_rotation": 0,
    }


def _publish(registry: LocalRegistry, project_id: int, *, model: Path, cache: Path, seed: int) -> str:
    base = load_base(str(model), cache_dir=cache, device="cpu")
    decoder, generator = decoder_of(base, None), torch.Generator().manual_seed(seed)
    for weight in decoder.parameters():
        weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    manifest = make_manifest(project_id=project_id, base_model=base.name, base_fingerprint=base.fingerprint)
    return registry.publish(project_id, weights=decoder_bytes(decoder), manifest=manifest).version


@pytest.fixture
def story(label_studio: LabelStudioProcess) -> Story:
    return Story(label_studio)


@pytest.fixture
def environ(story: Story, tiny_sam_dir: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": story.studio.url,
        "LABEL_STUDIO_API_KEY": story.studio.token,
        "SAMLOOP_MODEL": str(tiny_sam_dir),
        "SAMLOOP_POLL_SECONDS": "0.2",
        "SAMLOOP_REFRESH_RATE": str(RATE),
        "SAMLOOP_KEEP_PREDICTIONS": "2",
    }


@pytest.fixture
def backend(environ: dict[str, str], tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "server", environ=environ) as running:
        yield running


@pytest.fixture
def worker(backend: Served, environ: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    own = {
        "REDIS_URL": find_live_url(tmp_path / "server" / "queue") or "",
        "SAMLOOP_BACKEND_URL": backend.url,
        "MODEL_DIR": str(tmp_path / "server" / "models"),
        "PYTHONPATH": str(ROOT),
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "worker", "--refresh"],
            env={**os.environ, **environ, **own},
            stdout=log,
            stderr=log,
        )
        yield process
        process.terminate()
        process.wait(120)


def wait_for(condition: Callable[[], Any], *, log: Path, seconds: float = 180.0) -> Any:
    return wait_until(condition, seconds=seconds, every_s=0.1, explain=lambda: log.read_text()[-3000:])


def test_a_promotion_refreshes_what_nobody_touched_once_though_the_refresh_is_killed(
    story: Story,
    backend: Served,
    worker: "subprocess.Popen[bytes]",
    tiny_sam_dir: Path,
    tmp_path: Path,
) -> None:
    registry, log = LocalRegistry(tmp_path / "server" / "models"), tmp_path / "worker.log"
    story.client.backends.connect(story.project_id, url=backend.url, title="samloop")

    def refresh() -> dict[str, Any]:
        status = requests.get(f"{backend.url}/projects/{story.project_id}/status", timeout=60).json()
        return dict(status["refresh"])

    def ended(version: str) -> bool:
        now = refresh()
        assert not now["error"], now["error"]
        return now["phase"] == "idle" and (now["last"] or {}).get("version") == version

    publish = {"model": tiny_sam_dir, "cache": tmp_path / "cache"}
    first = _publish(registry, story.project_id, seed=1, **publish)
    registry.promote(story.project_id, first, reason="a test")  # and nothing else: the backend sees it by itself

    wait_for(lambda: refresh()["progress"].get("done", 0) >= 4, log=log)
    (horse,) = (int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split())
    kill(horse)
    wait_for(lambda: not alive(horse), log=log)
    written = sum(story.held(first).values())
    assert 4 <= written < TASKS - 3, "it was not killed in the middle"
    wait_for(lambda: ended(first), log=log)

    expected = {task_id: int(task_id not in story.touched) for task_id in story.ids}
    assert story.held(first) == expected
    assert refresh()["last"]["written"] + refresh()["last"]["there"] == TASKS - 3
    assert story.client.project(story.project_id)["model_version"] == first
    mine = [
        prediction
        for prediction in story.client.predictions(task_id=story.ids[5])
        if prediction["model_version"] == first
    ]
    assert all(region["meta"]["model_version"] == first for region in mine[0]["result"])
    assert 0 <= mine[0]["score"] <= 1

    story.client.create_annotation(story.ids[3], [])
    for seed in (2, 3):
        version = _publish(registry, story.project_id, seed=seed, **publish)
        registry.promote(story.project_id, version, reason="a test")
    wait_for(lambda: ended(version), log=log)

    expected[story.ids[3]] = 0
    assert story.held(version) == expected, "every untouched task once, and none that was touched"
    kept = story.held(first)
    assert (kept[story.ids[3]], kept[story.ids[4]]) == (1, 0), "old ones go, but from touched tasks"
    assert sum(story.held("detector").values()) == TASKS
    assert story.client.project(story.project_id)["model_version"] == version
    upcoming = story.client.tabs.upcoming(story.project_id, after=0, limit=TASKS)
    assert {int(task["id"]) for task in upcoming} >= set(story.ids[4:])
