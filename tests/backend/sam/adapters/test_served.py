"""Checkpoints with an adapter in the encoder: refused where they are bad, served with the encoder they need."""

import base64
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from starlette.testclient import TestClient
from support.pictures import encode_image, write_data_uri
from support.queue import connect_to_nobody
from support.waiting import wait_until
from torch import Tensor

from backend.errors import BadCheckpoint
from backend.images.source import open_image
from backend.labelstudio.controls.regions import mask_of_region
from backend.masks.prompt import Box, Click, Prompt
from backend.registry.checkpoint import Manifest, write_checkpoint
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics, Recipe
from backend.sam.adapters.served import CONV_LORA, LORA, list_shapes
from backend.sam.embeddings.domain import Domain, direction_of, with_domain
from backend.sam.embeddings.memory import halve, widen
from backend.sam.loading import BaseModel, decoder_bytes, decoder_of, load_base
from backend.sam.predictor import Predictor, base_predictor, encode, predictor_of
from backend.server.app import create_app
from backend.serving.slot import ModelSlot
from backend.settings import Settings

SIZES = Recipe(adapter={"rank": 2, "alpha": 4.0})
METHODS = (LORA, CONV_LORA)
TAGS = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="out" toName="image"><Label value="Coin"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Coin"/></RectangleLabels>'
    '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Coin"/></KeyPointLabels></View>'
)
BOX = Prompt(box=Box(24.0, 8.0, 72.0, 56.0))
Change = Callable[[dict[str, Tensor]], object]


def adapter_weights(base: BaseModel, method: str, *, change: Change = lambda _: None) -> bytes:
    generator = torch.Generator().manual_seed(7)
    shapes = list_shapes(base.family.places(base.model.vision_encoder), kind=method, rank=2)
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    named = safetensors.torch.load(decoder_bytes(decoder_of(base, None), state))
    change(named)
    return safetensors.torch.save(named)


@pytest.fixture
def write(tiny_base: BaseModel, manifest: Manifest, tmp_path: Path) -> Callable[..., Path]:
    """`write(method, change=..., **of the manifest)`: a checkpoint's folder."""

    def make(method: str, *, change: Change = lambda _: None, **changes: Any) -> Path:
        told = dataclasses.replace(manifest, **{"method": method, "config": SIZES, **changes})
        folder = tmp_path / "checkpoint"
        write_checkpoint(folder, weights=adapter_weights(tiny_base, method, change=change), manifest=told)
        return folder

    return make


@pytest.mark.parametrize("method", METHODS)
def test_its_encoder_sees_otherwise_under_a_key_of_its_own_and_the_base_as_before(
    method: str, tiny_base: BaseModel, write: Callable[..., Path], astronaut: Image.Image
) -> None:
    before = encode(tiny_base, astronaut).features
    found = predictor_of(tiny_base, write(method))
    seen = encode(found.base, astronaut).features
    assert (seen - before).abs().max() > 0.05
    assert torch.equal(encode(tiny_base, astronaut).features, before)
    assert found.base.encoder_fingerprint.startswith(f"{tiny_base.encoder_fingerprint}+")
    assert found.base.fingerprint == tiny_base.fingerprint
    assert predictor_of(tiny_base, write(method)).base.encoder_fingerprint == found.base.encoder_fingerprint
    louder = write(method, config=Recipe(adapter={"rank": 2, "alpha": 8.0}))
    assert predictor_of(tiny_base, louder).base.encoder_fingerprint != found.base.encoder_fingerprint


@pytest.mark.parametrize("method", METHODS)
def test_as_a_base_it_is_what_it_is_as_a_champion(
    method: str, lively_dir: Path, tiny_base: BaseModel, write: Callable[..., Path], astronaut: Image.Image
) -> None:
    folder = write(method, base_model=str(lively_dir))
    served = predictor_of(tiny_base, folder)
    base = load_base(str(folder), cache_dir=folder.parent, device="cpu", dtype="float32")
    assert torch.equal(encode(base, astronaut).features, encode(served.base, astronaut).features)
    assert base.fingerprint != tiny_base.fingerprint


def first(end: str) -> Callable[[dict[str, Tensor]], str]:
    return lambda state: next(name for name in state if name.endswith(end))


BAD = {
    "a weight missing": (lambda s: s.pop(first("lora_A.weight")(s)), {}, r"unknown vision_encoder\..*lora_A"),
    "no adapter at all": (
        lambda s: [s.pop(name) for name in list(s) if name.startswith("vision_encoder.")],
        {},
        "missing or unknown",
    ),
    "a weight of the encoder": (
        lambda s: s.update({"vision_encoder.neck.conv1.weight": torch.zeros(1)}),
        {},
        "unknown vision_encoder.neck",
    ),
    "a wrong shape": (
        lambda s: s.update({first("lora_B.weight")(s): torch.zeros(48, 3)}),
        {},
        r"has shape \(48, 3\), not \(48, 2\)",
    ),
    "not a number": (
        lambda s: s[first("lora_A.weight")(s)].fill_(math.nan),
        {},
        "holds numbers that are not finite",
    ),
    "another rank": (lambda _: None, {"config": Recipe(adapter={"rank": 4, "alpha": 4.0})}, "has shape"),
    "no rank": (lambda _: None, {"config": Recipe()}, "says adapter='None'"),
    "a rank of none": (
        lambda _: None,
        {"config": Recipe(adapter={"rank": 10**9, "alpha": 1.0})},
        "a rank from 1 to",
    ),
    "another base": (lambda _: None, {"base_fingerprint": "0" * 64}, "set SAMLOOP_MODEL to its base"),
}


@pytest.mark.parametrize("attack", BAD)
def test_a_bad_adapter_is_refused(attack: str, tiny_base: BaseModel, write: Callable[..., Path]) -> None:
    change, changes, sentence = BAD[attack]
    with pytest.raises(BadCheckpoint, match=sentence):
        predictor_of(tiny_base, write(LORA, change=change, **changes))


def test_its_decoder_alone_is_not_given_away(tiny_base: BaseModel, write: Callable[..., Path]) -> None:
    with pytest.raises(BadCheckpoint, match=r"changes the encoder \(lora\), not the decoder alone"):
        decoder_of(tiny_base, write(LORA))


def test_an_adapter_that_overflows_is_refused_before_it_is_served(
    tiny_base: BaseModel, tmp_path: Path, manifest: Manifest
) -> None:
    registry = LocalRegistry(tmp_path / "models")
    weights = adapter_weights(tiny_base, LORA, change=lambda s: [v.mul_(1e30) for n, v in s.items() if "lora" in n])
    told = dataclasses.replace(manifest, method=LORA, config=SIZES)
    version = registry.publish(1, weights=weights, manifest=told).version
    registry.promote(1, version, reason="")
    slot = ModelSlot(tiny_base, registry)
    slot.look()
    assert slot.snapshot(1).predictor.base is tiny_base
    assert "not finite" in slot.refused[version]


def image_of(task: dict[str, Any]) -> Image.Image:
    return open_image(base64.b64decode(task["data"]["image"].split(",")[1]), max_pixels=10**8)


def expected_mask(predictor: Predictor, task: dict[str, Any], prompt: Prompt) -> np.ndarray:
    """As `samloop evaluate` computes it: its own encoder, rounded as every tier rounds."""
    embedding = widen(halve(encode(predictor.base, image_of(task))))
    return predictor.decode(embedding, [prompt])[0].mask


def picture(seed: int = 5) -> str:
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return write_data_uri(encode_image(Image.fromarray(blocks).resize((96, 64), Image.Resampling.NEAREST)))


def clicked(client: TestClient, task: dict[str, Any]) -> tuple[str, np.ndarray]:
    value = {"x": 40.0, "y": 50.0, "width": 0.3, "keypointlabels": ["Coin"]}
    point = {"type": "keypointlabels", "from_name": "kp", "is_positive": True, "value": value}
    body = {"tasks": [task], "project": "1.1", "label_config": TAGS, "params": {"context": {"result": [point]}}}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    return prediction["model_version"], union(prediction["result"])


def boxed(client: TestClient, task: dict[str, Any]) -> np.ndarray:
    """The mask that a batch draws in `BOX`."""
    value = {"x": 25.0, "y": 12.5, "width": 50.0, "height": 75.0, "rotation": 0, "rectanglelabels": ["Coin"]}
    size = {"original_width": 96, "original_height": 64, "image_rotation": 0}
    region = {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value, **size}
    drawn = {**task, "annotations": [{"result": [region]}]}
    answer = client.post("/predict", json={"tasks": [drawn], "project": "1.1", "label_config": TAGS})
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    return union(prediction["result"])


def union(regions: list[dict[str, Any]]) -> np.ndarray:
    found = np.zeros((64, 96), bool)
    for region in regions:
        found |= mask_of_region(region, height_px=64, width_px=96)
    return found


@pytest.fixture
def settings(lively_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        model=str(lively_dir),
        device="cpu",
        dtype="float32",
        model_dir=tmp_path / "models",
        cache_dir=tmp_path / "cache",
        poll_seconds=0.1,
        specks_px=0,  # the mask as the decoder draws it
    )


def test_it_is_swapped_into_a_running_app_and_out_again_and_its_masks_are_those_of_the_evaluation(
    settings: Settings, lively_dir: Path, tiny_base: BaseModel, manifest: Manifest, tmp_path: Path
) -> None:
    registry, task = LocalRegistry(settings.registry.model_dir), {"id": 1, "data": {"image": picture()}}
    prompt = Prompt(clicks=(Click(x_px=38.4, y_px=32.0),))
    base = Predictor(tiny_base, decoder_of(tiny_base, None), version="base")
    away = connect_to_nobody(tmp_path)
    with TestClient(create_app(settings, connection=away), base_url="http://localhost") as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        _, plain = clicked(client, task)
        assert np.array_equal(plain, expected_mask(base, task, prompt))
        for method in METHODS:
            told = dataclasses.replace(manifest, method=method, config=SIZES)
            version = registry.publish(1, weights=adapter_weights(tiny_base, method), manifest=told).version
            registry.promote(1, version, reason="")
            _, mask = _until(client, task, version)
            tuned = predictor_of(tiny_base, registry.materialise(version))
            assert np.array_equal(mask, expected_mask(tuned, task, prompt))
            assert not np.array_equal(mask, plain)
        registry.promote(1, None, reason="")
        _, again = _until(client, task, lively_dir.name)
        assert np.array_equal(again, plain)


def test_the_base_answers_clicks_and_rectangles_on_images_outside_the_domain_of_an_adapter(
    settings: Settings, tiny_base: BaseModel, write: Callable[..., Path], manifest: Manifest, tmp_path: Path
) -> None:
    """Its encoder would see them with the adapter: the base's own embeddings are made for them."""
    own, other = ({"id": number, "data": {"image": picture(seed)}} for number, seed in ((1, 5), (2, 6)))
    adapted = predictor_of(tiny_base, write(LORA))
    learnt, others = (
        direction_of(encode(adapted.base, image_of(task)), frame=tiny_base.frame)[None] for task in (own, other)
    )
    domain = Domain(learnt=learnt, others=others, radius=0.0)
    told = dataclasses.replace(
        manifest,
        method=LORA,
        config=SIZES,
        metrics=CheckpointMetrics.from_json({"domain": {"learnt": 1, "others": 1, "radius": 0.0}}),
    )
    registry = LocalRegistry(settings.registry.model_dir)
    weights = with_domain(adapter_weights(tiny_base, LORA), domain)
    version = registry.publish(1, weights=weights, manifest=told).version
    registry.promote(1, version, reason="")
    prompt, base = Prompt(clicks=(Click(x_px=38.4, y_px=32.0),)), base_predictor(tiny_base)
    with TestClient(
        create_app(settings, connection=connect_to_nobody(tmp_path)), base_url="http://localhost"
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        for task, answers in ((own, adapted), (other, base)):
            asked, mask = _until(client, task, version)
            assert asked == version
            assert np.array_equal(mask, expected_mask(answers, task, prompt))
            assert np.array_equal(boxed(client, task), expected_mask(answers, task, BOX))
        assert not np.array_equal(mask, expected_mask(adapted, other, prompt))


def _until(client: TestClient, task: dict[str, Any], version: str) -> tuple[str, np.ndarray]:
    return wait_until(lambda: (now := clicked(client, task))[0] == version and now)
