"""What a training forgot is measured on unrelated photographs, said in a sentence, and lessened by replay."""

import importlib.resources
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pictures import encode_image

from backend.errors import Unavailable
from backend.registry.checkpoint import REPORT_FILE
from backend.registry.metrics import ForgettingMetrics
from backend.sam.automatic import AutomaticRules
from backend.sam.embeddings.files import DiskEmbeddings
from backend.sam.loading import BaseModel
from backend.sam.predictor import Predictor, base_predictor
from backend.settings import Settings
from finetuner.config import TrainConfig
from finetuner.data import generic
from finetuner.data.embeddings import Embeddings
from finetuner.data.sample import Sample
from finetuner.measuring import forgetting
from finetuner.measuring.forgetting import measure_forgetting
from finetuner.methods.decoder import DecoderMethod
from finetuner.offline import train_export
from finetuner.presets import config_of
from finetuner.training import replay
from finetuner.training import run as training_run
from finetuner.training.loop import Trainer
from finetuner.training.replay import load_replay

CONFIG = TrainConfig(forgetting=True, replay=0.5, bootstrap_rounds=50)
# Random weights are sure of nothing: whatever they draw counts.
ANYTHING = AutomaticRules(points=2, most=2, least_score=0.0, most_area=1.0)


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch, discs: Callable[..., Any]) -> list[str]:
    """Which photographs were read: drawn ones, of the same names."""
    read: list[str] = []

    def drawn(name: str) -> bytes:
        read.append(name)
        return encode_image(discs(len(name))[0])

    monkeypatch.setattr(generic, "photograph", drawn)
    monkeypatch.setattr(generic, "RULES", ANYTHING)
    monkeypatch.setattr(forgetting, "MEASURED", ("astronaut.png", "cat.png"))
    monkeypatch.setattr(replay, "REPLAYED", ("moon.png",))
    return read


@pytest.fixture
def embeddings(tiny_base: BaseModel, tmp_path: Path) -> Embeddings:
    return Embeddings(tiny_base, disk=DiskEmbeddings(tmp_path / "disk", max_bytes=1 << 30), max_pixels=10**6)


@pytest.mark.usefixtures("photographs")
def test_the_base_forgets_nothing_and_a_broken_decoder_is_seen(
    tiny_base: BaseModel, embeddings: Embeddings, tmp_path: Path
) -> None:
    plain, method = base_predictor(tiny_base), DecoderMethod(tiny_base, precision="float32")

    def told(candidate: Predictor) -> dict[str, Any]:
        measured = measure_forgetting(
            candidate, plain=plain, embeddings=embeddings, folder=tmp_path / "generic", config=CONFIG
        )
        assert measured is not None
        return dict(json.loads(json.dumps(measured.to_json())))

    same = told(method.predictor(version="same"))
    assert same["difference"]["box"]["iou"] == same["difference"]["point"]["iou"] == [0.0, 0.0, 0.0]
    assert same["base"] == same["candidate"]
    assert same["images"] == 2
    assert same["said"].startswith(
        f"On 2 unrelated photographs, IoU with the {same['objects']} masks that the base finds there by itself: "
    )
    with torch.no_grad():  # the other way round: what was object is background
        for name, weight in method.trainable().items():
            if "output_hypernetworks" in name and "proj_out" in name:
                weight.neg_()
    broken = told(method.predictor(version="broken"))
    assert broken["base"] == same["base"]
    assert broken["difference"]["box"]["iou"][0] == pytest.approx(
        broken["candidate"]["box"]["iou"] - broken["base"]["box"]["iou"]
    )
    assert broken["difference"]["box"]["iou"][2] < -0.1
    assert f"{broken['candidate']['point']['iou']:.3f} now with one click" in broken["said"]


def test_without_scikit_image_the_sentence_says_how_to_get_it_and_replay_does_not_start(
    tiny_base: BaseModel, embeddings: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(package: str) -> Any:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(resources, "files", gone)
    plain = base_predictor(tiny_base)
    unmeasured = measure_forgetting(plain, plain=plain, embeddings=embeddings, folder=tmp_path, config=CONFIG)
    assert unmeasured is not None
    assert unmeasured == ForgettingMetrics(sentence=unmeasured.sentence)
    assert "lacks astronaut.png: pip install scikit-image" in unmeasured.sentence
    with pytest.raises(Unavailable, match=r"lacks clock_motion.png: pip install scikit-image"):
        load_replay(config=CONFIG, plain=plain, embeddings=embeddings, folder=tmp_path)


def test_nothing_is_looked_at_where_nobody_asks(tiny_base: BaseModel, embeddings: Embeddings, tmp_path: Path) -> None:
    assert importlib.resources is resources
    plain, config = base_predictor(tiny_base), TrainConfig()
    assert measure_forgetting(plain, plain=plain, embeddings=embeddings, folder=tmp_path, config=config) is None
    assert load_replay(config=config, plain=plain, embeddings=embeddings, folder=tmp_path) == ()
    assert config_of(Settings()).forgetting
    assert config_of(Settings()).replay == 0


def test_a_training_replays_and_tells_what_it_forgot_on_its_report(
    export: Path, tmp_path: Path, tiny_settings: Settings, photographs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[str | None] = []

    class Spy(Trainer):
        def __init__(self, method: Any, samples: Sequence[Sample], **more: Any) -> None:
            learnt.extend(sample.image_uri for sample in samples)
            super().__init__(method, samples, **more)

    monkeypatch.setattr(training_run, "Trainer", Spy)
    settings = tiny_settings.replace(forgetting=True, replay=0.25, training_seconds=3600.0)
    manifest = train_export(export, tmp_path / "images", tmp_path / "out", settings=settings, epochs=1)
    assert learnt.count("moon.png") == round((len(learnt) - learnt.count("moon.png")) / 3)
    assert {"astronaut.png", "cat.png", "moon.png"} == set(photographs)
    assert manifest.config.to_json()["replay"] == 0.25
    forgotten = manifest.metrics.forgetting
    assert forgotten is not None
    assert forgotten.difference is not None
    assert forgotten.images == 2
    assert not any("unrelated photographs" in reason for reason in manifest.verdict.reasons)
    page = (tmp_path / "out" / REPORT_FILE).read_text()
    assert "Forgetting: unrelated photographs" in page
    assert forgotten.sentence in page
    assert np.isfinite(forgotten.difference["box"]["iou"]).all()
