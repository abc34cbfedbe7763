"""Batches over HTTP, and the second look: what the settings switch on reaches the tasks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.pictures import encode_image, write_data_uri
from support.queue import connect_to_nobody

from backend.server.app import create_app
from backend.settings import Settings

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Cell"/></RectangleLabels></View>'
)


def image_url(*, height: int = 60, width: int = 90) -> str:
    blocks = np.random.default_rng(5).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return write_data_uri(encode_image(Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)))


@contextmanager
def served(folder: Path, weights: Path, **settings: Any) -> Iterator[TestClient]:
    away = connect_to_nobody(folder)
    chosen = Settings(model=str(weights), model_dir=folder / "models", cache_dir=folder / "cache", **settings)
    with TestClient(
        create_app(chosen, connection=away), raise_server_exceptions=False, base_url="http://localhost"
    ) as client:
        while client.get("/health").json()["model"] == "loading":
            pass
        yield client


def task(number: int, image: str, *, boxed: bool) -> dict[str, Any]:
    value = {"x": 20.0, "y": 20.0, "width": 50.0, "height": 50.0, "rectanglelabels": ["Cell"]}
    region = {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}
    return {"id": number, "data": {"image": image}, "annotations": [{"result": [region]}] if boxed else []}


def test_a_batch_gets_one_prediction_a_task_and_a_broken_image_costs_its_own(
    tiny_sam_dir: Path, tmp_path: Path
) -> None:
    with served(tmp_path, tiny_sam_dir) as client:
        tasks = [
            task(1, image_url(), boxed=True),
            task(2, "data:image/png;base64,AAAA", boxed=True),
            task(3, image_url(), boxed=False),
        ]
        reply = client.post("/predict", json={"tasks": tasks, "project": 1, "label_config": CONFIG})
        figures = client.get("/metrics").text

    assert reply.status_code == 200, reply.text
    results = reply.json()["results"]
    assert len(results) == 3
    assert all(0 <= prediction["score"] <= 1 and prediction["model_version"] for prediction in results)
    assert results[1]["result"] == results[2]["result"] == []
    assert 'samloop_failures_total{reason="BadImage"} 1.0' in figures


@pytest.mark.parametrize("refine", ["on", "off"])
def test_the_second_look_encodes_a_part_of_a_large_image_where_it_is_switched_on(
    tiny_sam_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refine: str
) -> None:
    looked: list[object] = []

    def second_look(first: Any, prompt: Any, *, predictor: Any, frame: Any, encode_crop: Any) -> Any:
        from backend.masks.crop import Crop

        looked.append(encode_crop(Crop(100, 50, 400, 350)))
        return first

    monkeypatch.setattr("backend.serving.clicks.refine_mask", second_look)
    prompt = {
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": {"x": 20.0, "y": 20.0, "width": 10.0, "height": 10.0, "rectanglelabels": ["Cell"]},
    }
    body = {
        "tasks": [task(1, image_url(height=600, width=1200), boxed=False)],
        "project": 1,
        "label_config": CONFIG,
        "params": {"context": {"result": [prompt]}},
    }
    with served(tmp_path, tiny_sam_dir, refine=refine) as client:
        reply = client.post("/predict", json=body)

    assert reply.status_code == 200, reply.text
    assert [(size.height_px, size.width_px) for size in looked] == ([(300, 300)] if refine == "on" else [])
