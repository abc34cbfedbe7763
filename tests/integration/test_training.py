"""A training of a project, with real processes: worker, horse, Valkey, the fine-tuner on a tiny SAM, a Label Studio."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from PIL import Image

from backend.labelstudio.client import LabelStudio
from backend.labelstudio.label_config import Control
from backend.labelstudio.results import brush_region
from backend.registry.store import Registry
from backend.training import TrainingQueue, connect
from backend.valkey import Valkey

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Disc"/></BrushLabels></View>"""
BRUSH = Control(kind="brushlabels", from_name="brush", to_name="image", labels=("Disc",))


def annotated_project(studio: FakeLabelStudio, *, images: int) -> int:
    """A project whose every task holds two annotated discs, and one task that was skipped."""
    client = LabelStudio(studio.url, studio.token)
    project_id = client.create_project("discs", CONFIG)["id"]
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :64]
    drawn = {}
    for number in range(images):
        masks = [(rows - 24) ** 2 + (columns - x) ** 2 < rng.uniform(6, 11) ** 2 for x in (18, 46)]
        pixels = rng.integers(0, 40, (48, 64, 3), dtype=np.uint8)
        pixels[masks[0] | masks[1]] += 180
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        drawn[f"{number:02d}.png"] = (file.getvalue(), masks)
    client.import_images(project_id, {name: data for name, (data, _) in drawn.items()})
    for task in client.tasks(project_id):
        masks = next(masks for name, (_, masks) in drawn.items() if task["data"]["image"].endswith(name))
        regions = [
            brush_region(mask, control=BRUSH, label="Disc", score=1.0, model_version="a person", region_id=f"r{i}")
            for i, mask in enumerate(masks)
        ]
        client.create_annotation(task["id"], regions)
    return project_id


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as studio:
        yield studio


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with Valkey(tmp_path / "queue") as valkey:
        yield valkey.start()


@pytest.fixture
def work(tmp_path: Path, tiny_sam_dir: Path, studio: FakeLabelStudio, redis_url: str) -> Iterator[Callable[[], Any]]:
    """`work()` starts a worker process; all are ended."""
    environ = os.environ | {
        "REDIS_URL": redis_url,
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "MODEL_DIR": str(tmp_path / "models"),
        "SAMLOOP_CACHE_DIR": str(tmp_path / "cache"),
        "SAMLOOP_MODEL": str(tiny_sam_dir),
        "SAMLOOP_EPOCHS": "2",
        "SAMLOOP_SAVE_SECONDS": "0.001",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, "-m", "backend", "worker"], env=environ, start_new_session=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)


def wait_for(condition: Callable[[], Any], *, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def test_a_worker_killed_in_mid_training_loses_nothing_another_goes_on_from_its_step(
    work: Callable[[], Any], studio: FakeLabelStudio, redis_url: str, tmp_path: Path
) -> None:
    project_id = annotated_project(studio, images=8)
    queue = TrainingQueue(connect(redis_url), job_seconds=600)
    job_id = queue.request(project_id)
    first = work()
    wait_for(lambda: list((tmp_path / "models" / "unfinished").rglob("*.state")))
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert queue.status(project_id).verdict is None, "it was done before it could be killed"
    work()

    def ended() -> bool:
        queue.sweep()
        status = queue.status(project_id)
        return status.verdict is not None and status.phase == "idle"

    wait_for(ended)
    job = queue.job(job_id)
    assert job is not None
    registry = Registry(tmp_path / "models")
    (manifest,) = registry.versions(project_id)
    assert manifest.project_id == project_id
    assert manifest.metrics["split"]["folds"][0]["ended_at"]["resumed"] == 1
    assert not (tmp_path / "models" / "unfinished").exists()
    verdict = queue.status(project_id).verdict
    assert verdict is not None
    champion = registry.champion(project_id)
    assert (champion.version if champion else None) == (manifest.version if verdict["promoted"] else None)


def test_a_project_without_annotations_is_refused_in_words_that_the_status_shows(
    work: Callable[[], Any], studio: FakeLabelStudio, redis_url: str
) -> None:
    project_id = annotated_project(studio, images=1)
    queue = TrainingQueue(connect(redis_url), job_seconds=600)
    queue.request(project_id)
    work()
    status = wait_for(lambda: (now := queue.status(project_id)).phase == "failed" and now)
    assert "image" in status.error
    assert "Traceback" not in status.error
