"""Adapters from an export to a checkpoint and back, by the functions that `samloop train` and `evaluate` call."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
from PIL import Image

from backend.registry.checkpoint import WEIGHTS_FILE, read_manifest
from backend.sam.canvas import pixels_on_canvas
from backend.sam.export.folder import Origin
from backend.sam.export.folder import export as export_model
from backend.sam.export.onnx_card import ENCODER_FILE
from backend.sam.export.onnx_encoder import PIXELS
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import load_as_stored, load_base
from backend.sam.predictor import encode
from backend.settings import Settings
from finetuner.offline import evaluate_export, train_export


class Killed(BaseException):
    """As job.Interrupted: no Exception."""


def test_a_training_that_is_broken_off_ends_as_an_unbroken_one(
    export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    """The kill comes after two thirds of the run: the adapter has joined."""
    settings = tiny_settings.replace(save_seconds=1e-6, training_seconds=3600.0, method="lora")
    images, out = tmp_path / "images", tmp_path / "out"
    train_export(export, images, tmp_path / "unbroken", settings=settings, epochs=3)

    def kill(phase: str, **figures: float | str) -> None:
        if phase == "training" and float(figures["epoch"]) > 1:  # told when the second epoch ends
            raise Killed

    with pytest.raises(Killed):
        train_export(export, images, out, settings=settings, epochs=3, progress=kill)
    manifest = train_export(export, images, out, settings=settings, epochs=3)
    assert manifest.metrics.ended_at is not None
    assert manifest.metrics.ended_at.resumed == 1
    assert (out / WEIGHTS_FILE).read_bytes() == (tmp_path / "unbroken" / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize(("method", "rank"), [("lora", 8), ("conv-lora", 3)])
def test_a_training_is_measured_again_as_it_was_and_goes_out_whole(
    method: str, rank: int, export: Path, tmp_path: Path, tiny_settings: Settings
) -> None:
    """The method comes from the settings."""
    settings = tiny_settings.replace(training_seconds=3600.0, method=method)
    images, out = tmp_path / "images", tmp_path / "out"
    manifest = train_export(export, images, out, settings=settings, epochs=1)
    weights = (out / WEIGHTS_FILE).read_bytes()
    assert any(name.startswith("vision_encoder.") for name in safetensors.torch.load(weights))
    assert (manifest.method, (read_manifest(out).config.adapter or {})["rank"]) == (method, rank)

    told = evaluate_export(export, images, checkpoint=out, settings=settings, clicks=0).to_json()
    metrics = manifest.metrics.to_json()
    for prompt in ("box", "point"):
        for metric, value in metrics["candidate"][prompt].items():
            assert told["candidate"][prompt][metric] == pytest.approx(value)

    # A manifest tells a base by its name: of a folder, that must be where weights are looked for.
    (settings.cache.dir / "weights").mkdir(parents=True, exist_ok=True)
    (settings.cache.dir / "weights" / manifest.base_model).symlink_to(str(settings.sam.model))
    stored = load_as_stored(str(out), cache_dir=settings.cache.dir)
    exported = export_model(Origin(stored, manifest), how="onnx", out=tmp_path / "exported")
    base = load_base(str(out), cache_dir=settings.cache.dir, device="cpu", dtype="float32")
    with Image.open(images / "disc 0.png") as image:
        pixels, embedding = pixels_on_canvas(image, frame=SAM_FRAME), encode(base, image)
    session = onnxruntime.InferenceSession(exported / ENCODER_FILE, providers=["CPUExecutionProvider"])
    (seen,) = session.run(None, {PIXELS: pixels.numpy()})
    np.testing.assert_allclose(seen, embedding.features.numpy(), atol=1e-4 * float(embedding.features.abs().max()))
