"""Versions change under load: no request fails, no reply mixes two versions, /setup and /predict turn as one."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from support.checkpoints import make_manifest
from support.pictures import encode_image, write_data_uri
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.registry.checkpoint import WEIGHTS_FILE
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics, SemanticMetrics
from backend.sam.loading import decoder_bytes, decoder_of, load_base, new_head
from backend.sam.semantic.head import with_semantic
from backend.server.app import create_app
from backend.settings import Settings

Publish = Callable[[int, int], str]
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels></View>"""


@pytest.fixture
def settings(tiny_sam_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache", poll_seconds=0.2
    )


@pytest.fixture
def registry(settings: Settings) -> LocalRegistry:
    return LocalRegistry(settings.registry.model_dir)


@pytest.fixture
def publish(settings: Settings, registry: LocalRegistry) -> Publish:
    """`publish(project, seed)`: a new version of the project, its decoder a little other than the base's."""
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, device="cpu")

    def make(project_id: int, seed: int) -> str:
        generator = torch.Generator().manual_seed(seed)
        decoder = decoder_of(base, None)
        for weight in decoder.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        manifest = make_manifest(project_id=project_id, base_model=base.name, base_fingerprint=base.fingerprint)
        return registry.publish(project_id, weights=decoder_bytes(decoder), manifest=manifest).version

    return make


@pytest.fixture
def client(settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    connection = connect_to_nobody(tmp_path)
    with TestClient(
        create_app(settings, connection=connection), raise_server_exceptions=False, base_url="http://localhost"
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


def click(project_id: int = 1) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    uri = write_data_uri(encode_image(pixels))
    value = {"x": 50, "y": 50, "width": 1, "keypointlabels": ["Coin"]}
    region = {"type": "keypointlabels", "is_positive": True, "value": value}
    return {
        "tasks": [{"id": 1, "data": {"image": uri}}],
        "project": f"{project_id}.1",
        "label_config": CONFIG,
        "params": {"context": {"result": [region]}},
    }


def setup_version(client: TestClient, project_id: int = 1) -> str:
    return client.post("/setup", json={"project": f"{project_id}.1", "schema": CONFIG}).json()["model_version"]


def predict_version(client: TestClient, project_id: int = 1) -> str:
    prediction = client.post("/predict", json=click(project_id)).json()["results"][0]
    assert {region["meta"]["model_version"] for region in prediction["result"]} <= {prediction["model_version"]}
    return prediction["model_version"]


@pytest.mark.alone
def test_a_promotion_is_served_within_two_seconds_and_a_rollback_too(
    client: TestClient, registry: LocalRegistry, publish: Publish
) -> None:
    base = setup_version(client)
    took_s = []
    for version in (publish(1, 1), publish(1, 2), publish(1, 3)):
        for served in (version, None):
            registry.promote(1, served, reason="better, and back")
            began_s = time.monotonic()
            wait_until(lambda expected=served or base: setup_version(client) == expected)
            took_s.append(time.monotonic() - began_s)
            assert predict_version(client) == (served or base)
    # What users are promised, a poll every 0.2 s. The best: on a machine that is busy the others say less.
    assert min(took_s) < 2


def test_after_a_swap_to_a_version_with_a_semantic_head_batches_come_back_labelled_without_a_prompt(
    client: TestClient, registry: LocalRegistry, settings: Settings
) -> None:
    base = load_base(settings.sam.model, cache_dir=settings.cache.dir, device="cpu")
    head = new_head(base, labels=("Coin", "Dropped from the config"))
    for weight in (head.last, head.last_bias):
        weight.data.zero_()
    head.offset.data.copy_(torch.tensor([0.0, 5.0, 0.0]))  # a Coin everywhere
    manifest = make_manifest(
        project_id=1,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        metrics=CheckpointMetrics(semantic=SemanticMetrics(labels=head.labels, is_served=True)),
    )
    weights = with_semantic(decoder_bytes(base.model.mask_decoder), head)
    version = registry.publish(1, weights=weights, manifest=manifest).version
    batch = {name: value for name, value in click().items() if name != "params"}
    (before,) = client.post("/predict", json=batch).json()["results"]
    assert before["result"] == []

    registry.promote(1, version, reason="better")
    wait_until(lambda: setup_version(client) == version)

    (after,) = client.post("/predict", json=batch).json()["results"]
    assert after["model_version"] == version
    (region,) = after["result"]
    assert region["value"]["brushlabels"] == ["Coin"]
    assert region["meta"] == {"model_version": version}
    assert 0 < after["score"] <= 1


def test_projects_have_their_own_versions(client: TestClient, registry: LocalRegistry, publish: Publish) -> None:
    base = setup_version(client)
    one, two = publish(1, 1), publish(2, 2)
    registry.promote(1, one, reason="better")
    registry.promote(2, two, reason="better")
    wait_until(lambda: (setup_version(client, 1), setup_version(client, 2)) == (one, two))
    assert (predict_version(client, 1), predict_version(client, 2), predict_version(client, 3)) == (one, two, base)


def test_a_corrupt_checkpoint_is_refused_and_told_and_the_old_one_goes_on(
    client: TestClient, registry: LocalRegistry, publish: Publish
) -> None:
    good, bad = publish(1, 1), publish(1, 2)
    registry.promote(1, good, reason="better")
    wait_until(lambda: setup_version(client) == good)
    registry.promote(1, bad, reason="looked better")
    path = registry.materialise(bad) / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    wait_until(lambda: bad in client.get("/health").json()["refused"])
    assert client.get("/health").status_code == 200
    assert "samloop_refused_checkpoints 1.0" in client.get("/metrics").text
    assert setup_version(client) == predict_version(client) == good


def test_no_request_fails_or_mixes_versions_while_ten_versions_come_in(
    client: TestClient, registry: LocalRegistry, publish: Publish
) -> None:
    versions = [publish(1, seed) for seed in range(10)]
    known = {setup_version(client), *versions}
    stop, seen, faults = threading.Event(), [0] * 8, []

    def clicks(number: int) -> None:
        while not stop.is_set():
            try:
                assert predict_version(client) in known
            except Exception as fault:  # noqa: BLE001 - told below, with every other
                faults.append(repr(fault))
                return
            seen[number] += 1

    threads = [threading.Thread(target=clicks, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for version in versions:
        registry.promote(1, version, reason="better")
        wait_until(lambda version=version: setup_version(client) == version)
        # From the instant that /setup tells a version, no prediction of another one is begun.
        assert predict_version(client) == version
    stop.set()
    for thread in threads:
        thread.join(120)
    assert faults == []
    assert min(seen) > 0
