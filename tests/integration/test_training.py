"""A training of a project, with real processes: worker, horse, Valkey, the fine-tuner on a tiny SAM, a Label Studio."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import safetensors.torch
import torch
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from starlette.testclient import TestClient
from support.payloads import click_at, write_click
from support.pictures import encode_image
from support.processes import Processes, make_environ
from support.waiting import wait_until
from transformers import SamModel

from backend.images.source import open_image
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.label_config import Control
from backend.masks.prompt import Click, Prompt
from backend.registry.checkpoint import WEIGHTS_FILE
from backend.registry.local import LocalRegistry
from backend.sam.embeddings.memory import halve, widen
from backend.sam.loading import load_base
from backend.sam.predictor import encode, predictor_of
from backend.server.app import create_app
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.queue import TrainingQueue

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Disc"/></BrushLabels></View>"""
CLICKABLE = CONFIG.replace(
    "</View>", '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Disc"/></KeyPointLabels></View>'
)
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
        drawn[f"{number:02d}.png"] = (encode_image(pixels), masks)
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
def work(
    tmp_path: Path, tiny_sam_dir: Path, studio: FakeLabelStudio, empty_redis_url: str
) -> Iterator[Callable[..., Any]]:
    """`work()` starts a worker process, with further settings by name; all are ended."""
    environ = make_environ(
        queue_url=empty_redis_url,
        studio=studio,
        model=tiny_sam_dir,
        models=tmp_path / "models",
        cache=tmp_path / "cache",
        SAMLOOP_EPOCHS="2",
        SAMLOOP_SAVE_SECONDS="0.001",
    )
    with Processes() as processes:
        yield lambda **settings: processes.start("worker", environ=environ | settings)


def test_a_worker_killed_in_mid_training_loses_nothing_another_goes_on_from_its_step(
    work: Callable[[], Any], studio: FakeLabelStudio, empty_redis_url: str, tmp_path: Path
) -> None:
    project_id = annotated_project(studio, images=8)
    queue = TrainingQueue(connect(empty_redis_url), job_seconds=600)
    job_id = queue.request(project_id)
    first = work()
    wait_until(lambda: list((tmp_path / "models" / "unfinished").rglob("*.state")))
    first.send_signal(signal.SIGKILL)
    first.wait(120)
    assert queue.status(project_id).verdict is None, "it was done before it could be killed"
    work()

    def ended() -> bool:
        queue.sweep()
        status = queue.status(project_id)
        return status.verdict is not None and status.phase == "idle"

    wait_until(ended)
    job = queue.job(job_id)
    assert job is not None
    registry = LocalRegistry(tmp_path / "models")
    (manifest,) = registry.versions(project_id)
    assert manifest.project_id == project_id
    assert manifest.metrics.split is not None
    assert manifest.metrics.split.folds[0].ended_at.resumed == 1
    assert not (tmp_path / "models" / "unfinished").exists()
    verdict = queue.status(project_id).verdict
    assert verdict is not None
    champion = registry.champion(project_id)
    assert (champion.version if champion else None) == (manifest.version if verdict["promoted"] else None)


def test_a_project_without_annotations_is_refused_in_words_that_the_status_shows(
    work: Callable[[], Any], studio: FakeLabelStudio, empty_redis_url: str
) -> None:
    project_id = annotated_project(studio, images=1)
    queue = TrainingQueue(connect(empty_redis_url), job_seconds=600)
    queue.request(project_id)
    work()
    status = wait_until(lambda: (now := queue.status(project_id)).phase == "failed" and now)
    assert "image" in status.error
    assert "Traceback" not in status.error


@pytest.fixture
def lively_dir(tiny_sam_dir: Path, tmp_path: Path) -> Path:
    """The tiny random SAM with larger weights: as it is born, its masks are empty."""
    model = SamModel.from_pretrained(tiny_sam_dir)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(tmp_path / "lively")
    return tmp_path / "lively"


def test_start_training_with_an_adapter_ends_in_predictions_by_an_encoder_that_has_learnt(
    work: Callable[..., Any], studio: FakeLabelStudio, empty_redis_url: str, tmp_path: Path, lively_dir: Path
) -> None:
    """From Label Studio's webhook over the queue and the registry to the mask that a click gets."""
    project_id = annotated_project(studio, images=3)
    settings = Settings(
        model=str(lively_dir),
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        poll_seconds=0.1,
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        refresh=False,
        specks_px=0,  # the mask as the decoder draws it
    )
    registry = LocalRegistry(settings.registry.model_dir)
    with TestClient(create_app(settings, connection=connect(empty_redis_url)), base_url="http://localhost") as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        picture = next(iter(LabelStudio(studio.url, studio.token).tasks(project_id)))["data"]["image"]
        assert clicked(client, project_id, picture)[0] == lively_dir.name
        event = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": project_id}})
        assert event.json()["status"] == "queued"
        work(SAMLOOP_METHOD="lora", SAMLOOP_HEAD="promptable", SAMLOOP_MODEL=str(lively_dir))
        wait_until(lambda: client.get(f"/projects/{project_id}/status").json()["verdict"], seconds=300.0)
        (manifest,) = registry.versions(project_id)
        assert manifest.method == "lora"
        learnt = safetensors.torch.load_file(registry.materialise(manifest.version) / WEIGHTS_FILE)
        assert any(bool(value.any()) for name, value in learnt.items() if name.endswith("lora_B.weight"))
        if registry.champion(project_id) is None:  # a random SAM need not get better in two epochs
            registry.promote(project_id, manifest.version, reason="to look at what is served")
        wait_until(lambda: clicked(client, project_id, picture)[0] == manifest.version)
        _, served = clicked(client, project_id, picture)
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, device="cpu")
    tuned = predictor_of(base, registry.materialise(manifest.version))
    data = requests.get(
        f"{studio.url}{picture}", headers={"Authorization": f"Token {studio.token}"}, timeout=60
    ).content
    image = open_image(data, max_pixels=10**6)
    embedding = widen(halve(encode(tuned.base, image)))
    (expected,) = tuned.decode(embedding, [Prompt(clicks=(Click(x_px=48.0, y_px=24.0),))])
    assert served.any()
    np.testing.assert_array_equal(served, expected.mask)


def clicked(client: TestClient, project_id: int, picture: str) -> tuple[str, np.ndarray]:
    """The version that answers a click on the disc to the right, and the mask that it gives."""
    body = write_click(project_id, picture, click_at(75.0, 50.0, label="Disc"), label_config=CLICKABLE)
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    found = np.zeros((48, 64), bool)
    for region in prediction["result"]:
        found |= mask_of_region(region, height_px=48, width_px=64)
    return prediction["model_version"], found
