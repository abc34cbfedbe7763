"""The graphs of every family give what is served: the card's example as it stands, and every kind of prompt."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from backend.masks.metrics import iou
from backend.masks.prompt import Box, Prompt
from backend.sam.adapters.conv_lora import adapter_parameters, attach_conv_lora
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.embedding import Embedding
from backend.sam.export.folder import Origin, export
from backend.sam.export.onnx_card import DECODER_FILE, ENCODER_FILE
from backend.sam.export.onnx_decoder import OBJECT_SCORE, PromptedDecoder, pads_boxes
from backend.sam.export.onnx_encoder import PIXELS, write_encoder
from backend.sam.family import NO_OBJECT
from backend.sam.loading import BaseModel, decoder_of, load_as_stored, load_base
from backend.sam.mask_prompt import logits_of_mask
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from tests.support.plain_masks import IMAGE, PROMPTS
from tests.support.small_bases import SMALL_BASES, set_object_scores, write_small_base

WIDTH, HEIGHT = 280, 210
CARDS_BOX = Prompt(box=Box(40.0, 30.0, 200.0, 160.0))
TOLERANCE = 1e-4  # of the largest number


@dataclass(frozen=True)
class Exported:
    """A base, its graphs' folder, and what is in the card's example after it has run."""

    base: BaseModel
    folder: Path
    example: dict[str, Any]
    embedding: Embedding


@pytest.fixture(scope="module", params=SMALL_BASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("onnx")
    weights = str(write_small_base(request.param, root / "base"))
    folder = export(Origin(load_as_stored(weights, cache_dir=root)), how="onnx", out=root / "onnx")
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    IMAGE.resize((WIDTH, HEIGHT)).save(folder / "image.jpg")
    example: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(program, example)  # noqa: S102 - what a reader of the card does
    base = load_base(weights, cache_dir=root, device="cpu", dtype="float32")
    with Image.open(folder / "image.jpg") as image:
        return Exported(base, folder, example, encode(base, image.convert("RGB")))


def ask(exported: Exported, prompt: Prompt) -> list[np.ndarray]:
    """What the decoder's graph answers, given a prompt as the card says."""
    base, (width, height) = exported.base, exported.example["size"]
    points = [(click.x_px, click.y_px, float(click.is_foreground)) for click in prompt.clicks]
    if prompt.box is not None:
        points += [(prompt.box.x0_px, prompt.box.y0_px, 2.0), (prompt.box.x1_px, prompt.box.y1_px, 3.0)]
    if prompt.box is None or pads_boxes(base.model):
        points.append((0.0, 0.0, -1.0))
    mask = np.zeros((HEIGHT, WIDTH), bool) if prompt.mask is None else prompt.mask
    outputs = exported.example["encoder"].get_outputs()
    given = {
        **{output.name: values for output, values in zip(outputs, exported.example["maps"], strict=True)},
        "point_coords": np.array([[(x * width / WIDTH, y * height / HEIGHT) for x, y, _ in points]], np.float32),
        "point_labels": np.array([[kind for *_, kind in points]], np.float32),
        "mask_input": logits_of_mask(mask, frame=base.frame)[None, None].numpy(),
        "has_mask_input": np.array([prompt.mask is not None], np.float32),
        "orig_im_size": np.array([HEIGHT, WIDTH], np.float32),
    }
    answer: list[np.ndarray] = exported.example["decoder"].run(None, given)
    return answer


def test_the_cards_example_gives_the_maps_and_the_mask_that_are_served(exported: Exported) -> None:
    assert len(exported.example["maps"]) == len(exported.embedding.maps)
    for theirs, ours in zip(exported.example["maps"], exported.embedding.maps, strict=True):
        assert np.abs(theirs - ours.numpy()).max() < TOLERANCE * np.abs(theirs).max()
    (served,) = Predictor(exported.base, decoder_of(exported.base, None), version="x").decode(
        exported.embedding, [CARDS_BOX]
    )
    with Image.open(exported.folder / "mask.png") as mask:
        assert iou(np.asarray(mask), served.mask) > 0.999
    assert served.mask.any()


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_gets_the_masks_and_scores_that_are_served(exported: Exported, kind: str) -> None:
    prompt, base = PROMPTS[kind], exported.base
    if prompt.mask is not None:
        whole = Image.fromarray(prompt.mask).resize((WIDTH, HEIGHT))
        prompt = Prompt(box=prompt.box, mask=np.asarray(whole))
    masks, ious, low_res, *scores = ask(exported, prompt)
    predictor = Predictor(base, decoder_of(base, None), version="x")
    with torch.inference_mode():
        tensors = prompt_tensors([prompt], exported.embedding, frame=base.frame)
        logits, predicted = predictor.four_masks(exported.embedding, tensors)
    assert masks.shape == (1, 4, HEIGHT, WIDTH)
    assert np.abs(low_res - logits.numpy()).max() < TOLERANCE * np.abs(low_res).max()
    assert np.abs(ious - predicted.numpy()).max() < 1e-3
    (served,) = predictor.decode(exported.embedding, [prompt])
    assert [float(score[0]) for score in scores] == pytest.approx(
        [] if served.object_score is None else [served.object_score], rel=1e-4
    )


def test_onnx_finds_no_fault_in_the_graphs_and_the_card_names_their_outputs(exported: Exported) -> None:
    for name in (ENCODER_FILE, DECODER_FILE):
        onnx.checker.check_model(exported.folder / name, full_check=True)
    card = (exported.folder / "README.md").read_text()
    for session in (exported.example["encoder"], exported.example["decoder"]):
        assert all(f"`{value.name}`" in card for value in (*session.get_inputs(), *session.get_outputs()))
    assert (OBJECT_SCORE in card) == exported.base.family.scores_objects


def test_an_absent_objects_masks_are_empty_in_the_graph_too(tmp_path: Path) -> None:
    base = load_as_stored(str(write_small_base("sam2", tmp_path / "base")), cache_dir=tmp_path)
    set_object_scores(base.model, shift=-1000.0)
    embedding, size = encode(base, IMAGE), torch.tensor([60.0, 90.0])
    asked = torch.tensor([[[40.0, 30.0], [0.0, 0.0]]]), torch.tensor([[1.0, -1.0]])
    given = (*asked, torch.zeros(1, 1, 256, 256), torch.zeros(1), size)
    with torch.inference_mode():
        graph = PromptedDecoder(base.model, family=base.family).eval()
        masks, _, low_res, score = graph(embedding.features, *given, *embedding.finer)
    assert (masks == NO_OBJECT).all()
    assert (low_res == NO_OBJECT).all()
    assert score.item() < 0


def test_conv_loras_experts_are_chosen_in_the_graph_of_an_encoder_of_windows_in_stages(tmp_path: Path) -> None:
    """Shapes are lost there on the way to an expert's convolution, which the exporter must know the kernel of."""
    base = load_as_stored(str(write_small_base("sam2", tmp_path / "base")), cache_dir=tmp_path)
    encoder, family = base.model.vision_encoder, base.family
    adapters = attach_conv_lora(encoder, places=family.places(encoder))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weight in adapter_parameters(encoder):
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    write_encoder(base.model.eval(), tmp_path / "encoder.onnx", family=family)
    session, chosen = onnxruntime.InferenceSession(tmp_path / "encoder.onnx"), set()
    blocks = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    for image in (IMAGE, Image.fromarray(blocks).resize((300, 200))):
        pixels = pixels_on_canvas(image, frame=base.frame)
        with torch.no_grad():
            ours = family.encode(encoder, pixels)
        for theirs, values in zip(session.run(None, {PIXELS: pixels.numpy()}), ours, strict=True):
            assert np.abs(theirs - values.numpy()).max() < TOLERANCE * np.abs(theirs).max()
        chosen.add(tuple(layer.chosen for layer in adapters))
    assert len(chosen) > 1, "both images were treated by the same experts: nothing was tested"
