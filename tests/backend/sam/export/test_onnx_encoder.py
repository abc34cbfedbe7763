"""onnxruntime alone, given an image and a prompt, gives the mask that is served: with any method's encoder."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from backend.masks.metrics import iou
from backend.masks.prompt import Box, Prompt
from backend.registry.checkpoint import read_manifest
from backend.registry.local import LocalRegistry
from backend.sam.adapters.conv_lora import ConvLoraLinear, adapter_parameters, attach_conv_lora
from backend.sam.adapters.served import CONV_LORA, LORA, share_tensors
from backend.sam.canvas import pixels_on_canvas
from backend.sam.export.folder import Origin, export
from backend.sam.export.onnx_decoder import EMBEDDING
from backend.sam.export.onnx_encoder import PIXELS, write_encoder
from backend.sam.families import mobile, vit
from backend.sam.families.mobile import MobileSamModel
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import load_as_stored, load_base
from backend.sam.predictor import Predictor, encode

# Of the embedding's largest number. Measured: 2e-6 without, 6e-6 with Conv-LoRA's interpolations in between.
TOLERANCE = 1e-4


def pictures() -> list[Image.Image]:
    """Noise, a dark field with a bright one in it, and stripes: upright and flat ones."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    field = np.full((400, 300, 3), 20, np.uint8)
    field[100:220, 80:200] = 230, 180, 90
    stripes = np.broadcast_to(np.where(np.arange(500) % 40 < 20, 250, 5)[:, None], (128, 500, 3)).astype(np.uint8)
    return [Image.fromarray(pixels) for pixels in (noise, field, stripes)]


def seen_by_onnxruntime(graph: Path, pixels: Tensor) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (seen,) = session.run([EMBEDDING], {PIXELS: pixels.numpy()})
    return seen


def test_an_encoder_of_transformers_with_lora_sees_in_onnxruntime_what_it_sees_in_torch(
    adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    model = load_as_stored(str(adapted(LORA)), cache_dir=tmp_path / "cache").model
    write_encoder(model, tmp_path / "encoder.onnx", family=vit.FAMILY)
    onnx.checker.check_model(tmp_path / "encoder.onnx", full_check=True)
    pixels = pixels_on_canvas(pictures()[0], frame=SAM_FRAME)
    assert_sees_the_same(seen_by_onnxruntime(tmp_path / "encoder.onnx", pixels), model.vision_encoder, pixels)


def test_conv_loras_experts_are_chosen_in_the_graph_by_the_picture_that_it_sees(
    adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    model = load_as_stored(str(adapted(CONV_LORA)), cache_dir=tmp_path / "cache").model
    adapters = [layer for layer in model.vision_encoder.modules() if isinstance(layer, ConvLoraLinear)]
    write_encoder(model, tmp_path / "encoder.onnx", family=vit.FAMILY)
    chosen = set()
    for picture in pictures():
        pixels = pixels_on_canvas(picture, frame=SAM_FRAME)
        assert_sees_the_same(seen_by_onnxruntime(tmp_path / "encoder.onnx", pixels), model.vision_encoder, pixels)
        chosen.add(tuple(layer.chosen for layer in adapters))
    assert len(chosen) > 1, "no two pictures were treated by different experts: nothing was tested"


def test_tiny_vit_with_conv_lora_sees_in_onnxruntime_what_it_sees_in_torch(
    random_mobile_sam: MobileSamModel, tmp_path: Path
) -> None:
    """Its windows are padded before their LayerNorm, and that padding has no vote in the graph either."""
    model = share_tensors(random_mobile_sam)
    adapters = attach_conv_lora(model.vision_encoder, places=mobile.FAMILY.places(model.vision_encoder))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in adapter_parameters(model.vision_encoder):
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    write_encoder(model.eval(), tmp_path / "encoder.onnx", family=mobile.FAMILY)
    pixels = pixels_on_canvas(pictures()[1], frame=SAM_FRAME)
    assert_sees_the_same(seen_by_onnxruntime(tmp_path / "encoder.onnx", pixels), model.vision_encoder, pixels)
    assert len({layer.chosen for layer in adapters}) > 2, "of eight experts"


def assert_sees_the_same(seen: np.ndarray, encoder: torch.nn.Module, pixels: Tensor) -> None:
    with torch.no_grad():
        expected = encoder(pixels).last_hidden_state.numpy()
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).max() < TOLERANCE * np.abs(expected).max()


@pytest.fixture(params=["decoder", CONV_LORA])
def checkpoint(
    request: pytest.FixtureRequest,
    adapted: Callable[[str], Path],
    publish: Callable[..., str],
    lively_dir: Path,
    tmp_path: Path,
) -> Path:
    """One that changes the decoder alone, and one whose encoder cannot be had otherwise."""
    if request.param != "decoder":
        return adapted(request.param)
    return LocalRegistry(tmp_path / "models").materialise(publish(1, seed=3, base_model=str(lively_dir)))


def test_the_cards_example_runs_as_it_stands_and_gives_the_mask_that_is_served(
    checkpoint: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    origin = Origin(load_as_stored(str(checkpoint), cache_dir=cache), read_manifest(checkpoint))
    folder = export(origin, how="onnx", out=tmp_path / "onnx")
    (example,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    pictures()[0].save(folder / "image.jpg")
    with contextlib.chdir(folder):
        exec(example, {})  # noqa: S102 - what a reader of the card does
    base = load_base(str(checkpoint), cache_dir=cache, device="cpu", dtype="float32")
    with Image.open(folder / "image.jpg") as image, Image.open(folder / "mask.png") as mask:
        embedding, found = encode(base, image.convert("RGB")), np.asarray(mask)
    predictor = Predictor(base, base.model.mask_decoder, version="test")
    (served,) = predictor.decode(embedding, [Prompt(box=Box(40.0, 30.0, 200.0, 160.0))])
    assert 0.05 < served.mask.mean() < 0.95
    assert iou(found, served.mask) > 0.9999
