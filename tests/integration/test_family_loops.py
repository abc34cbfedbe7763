"""The whole loop with a small random base of every family: pull, train, judge, promote, swap, refresh."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.regions import brush_region
from starlette.testclient import TestClient
from support.payloads import click_at, write_click
from support.pictures import encode_image
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.api.predictions import PredictionStore
from backend.labelstudio.label_config import Control
from backend.refresh.client import BackendClient
from backend.refresh.walk import Refresh
from backend.registry.local import LocalRegistry
from backend.sam.families import list_families
from backend.server.app import create_app
from backend.settings import Settings
from finetuner.deciding.promotion import Verdict
from finetuner.pipeline import train_project
from finetuner.presets import config_of
from finetuner.progress import silent
from finetuner.refreshing import rules_of
from tests.support.small_bases import SMALL_BASES, write_small_base

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Disc"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="Disc"/></RectangleLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Disc"/></KeyPointLabels></View>"""
BRUSH = Control(kind="brushlabels", from_name="brush", to_name="image", labels=("Disc",))
SHORT: Mapping[str, Any] = {"decodes": 4, "adapter_joins": 0.0, "bootstrap_rounds": 10, "most_folds": 2}


class OverTestClient(BackendClient):
    """The worker's client of the backend, without a socket between."""

    def __init__(self, settings: Settings, client: TestClient) -> None:
        super().__init__(settings)
        self._client = client

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json=dict(body))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def import_discs(studio: FakeLabelStudio, *, annotated: int) -> int:
    """A project whose every task but the last holds an annotated disc; the last has a detector's rectangle."""
    client = LabelStudio(studio.url, studio.token)
    project_id = int(client.create_project("discs", CONFIG)["id"])
    mask = np.hypot(*np.mgrid[-24:24, -32:32]) < 12
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 40, (48, 64, 3), np.uint8) + 180 * mask[..., None] for _ in range(annotated + 1)]
    files = {f"{number}.png": encode_image(pixels.astype(np.uint8)) for number, pixels in enumerate(pictures)}
    client.import_images(project_id, files)
    region = brush_region(mask, control=BRUSH, label="Disc", score=1.0, model_version="a person", region_id="r")
    *drawn, untouched = sorted(int(task["id"]) for task in client.tasks(project_id))
    for task_id in drawn:
        client.create_annotation(task_id, [region])
    value = {"x": 30, "y": 25, "width": 40, "height": 50, "rotation": 0, "rectanglelabels": ["Disc"]}
    box = {"id": "b", "type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    size = {"original_width": 64, "original_height": 48, "image_rotation": 0}
    PredictionStore(studio.url, studio.token, project_id=project_id).add(
        [{"task": untouched, "result": [{**box, **size}], "score": 0.5, "model_version": "detector"}]
    )
    return project_id


def clicked_version(client: TestClient, project_id: int, image: str) -> str:
    body = write_click(project_id, image, click_at(50.0, 50.0, label="Disc"), label_config=CONFIG)
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["results"][0]["model_version"])


def test_every_family_is_walked_through() -> None:
    """Other tests walk the loop with SAM's ViT, and the demo with MobileSAM."""
    assert {family.name for family in list_families()} == {*SMALL_BASES, "sam", "mobile-sam"}


@pytest.mark.parametrize(("family", "method"), [(name, base.method) for name, base in SMALL_BASES.items()])
def test_a_base_of_the_family_learns_is_promoted_swapped_in_and_refreshes_what_nobody_touched(  # noqa: PLR0917
    family: str,
    method: str,
    studio: FakeLabelStudio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promote: Callable[..., Verdict],
) -> None:
    monkeypatch.setattr("finetuner.deciding.outcome.judge", promote)
    monkeypatch.setattr("finetuner.pipeline.config_of", lambda settings: replace(config_of(settings), **SHORT))
    project_id = import_discs(studio, annotated=2)
    settings = Settings(
        model=str(write_small_base(family, tmp_path / "base")),
        device="cpu",
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        poll_seconds=0.05,
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        method=method,
        head="promptable",
        training_epochs=1,
        training_seconds=1.0,
        forgetting=False,
    )
    image = str(next(iter(LabelStudio(studio.url, studio.token).tasks(project_id)))["data"]["image"])
    queue = connect_to_nobody(tmp_path)
    with TestClient(create_app(settings, connection=queue), base_url="http://localhost") as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        assert clicked_version(client, project_id, image) == "base"
        outcome = train_project(project_id, settings=settings, progress=silent, fence=lambda: None)
        assert outcome.promoted, outcome.reason
        wait_until(lambda: clicked_version(client, project_id, image) == outcome.version)
        registry = LocalRegistry(settings.registry.model_dir)
        tally = Refresh(
            store=PredictionStore(studio.url, studio.token, project_id=project_id),
            backend=OverTestClient(settings, client),
            rules=rules_of(settings, registry, project_id),
            progress=silent,
            check=lambda: None,
        ).run()
    assert tally.written == 1, tally.sentence
    stored = list(LabelStudio(studio.url, studio.token).predictions(project_id=project_id))
    assert {prediction["model_version"] for prediction in stored} == {"detector", outcome.version}
    (manifest,) = registry.versions(project_id)
    assert (manifest.method, manifest.base_model) == (method, "base")


@pytest.fixture
def promote() -> Callable[..., Verdict]:
    """A judge for tests: a random base need not get better in one epoch."""
    return lambda *_, **__: Verdict(promote=True, reasons=("as the test wants it",))
