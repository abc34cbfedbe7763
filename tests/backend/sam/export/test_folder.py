"""An exported folder holds the served weights for other programs: loaded there, they give the same masks."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from transformers import SamModel

from backend.errors import BadInput
from backend.masks.prompt import Box, Click, Prompt
from backend.registry.checkpoint import Manifest, read_manifest
from backend.registry.figures import MaskFigures, ModelFigures
from backend.registry.local import LocalRegistry
from backend.registry.metrics import CheckpointMetrics
from backend.sam.adapters.served import CONV_LORA, LORA
from backend.sam.embeddings.embedding import Embedding
from backend.sam.export.folder import MANIFEST_FILE, Format, Origin, export
from backend.sam.export.onnx_card import DECODER_FILE
from backend.sam.export.onnx_decoder import INPUTS
from backend.sam.frame import SAM_FRAME
from backend.sam.loading import BaseModel, load_as_stored, load_base
from backend.sam.mask_prompt import logits_of_mask
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from backend.sam.semantic.head import SemanticHead

# Measured: 4e-7 with the tiny model, 4e-5 with mobile-sam, whose logits go to 40.
ONNX_TOLERANCE = 2e-4


@pytest.fixture
def checkpoint(tmp_path: Path, publish: Callable[..., str], lively_dir: Path) -> Path:
    """A published checkpoint of the tiny base, as `samloop export --project` finds it."""
    return LocalRegistry(tmp_path / "models").materialise(publish(1, seed=3, base_model=str(lively_dir)))


def origin_of(checkpoint: Path, tmp_path: Path) -> Origin:
    return Origin(load_as_stored(str(checkpoint), cache_dir=tmp_path / "cache"), read_manifest(checkpoint))


def predictor_of(base: BaseModel) -> Predictor:
    return Predictor(base, base.model.mask_decoder, version=base.name)


def photograph() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))


CLICK = Prompt(clicks=(Click(100.5, 80.0),))
CLICKS_IN_BOX = Prompt(
    clicks=(Click(100.5, 80.0), Click(10.0, 20.0, is_foreground=False)), box=Box(5.0, 9.0, 200.0, 250.0)
)


def test_the_transformers_folder_loads_with_transformers_and_serves_the_same_masks(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = export(origin_of(checkpoint, tmp_path), how="hf", out=tmp_path / "hf")
    served, again = (
        load_base(str(path), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
        for path in (checkpoint, folder)
    )
    theirs = SamModel.from_pretrained(folder, local_files_only=True).state_dict()
    for name, value in served.model.state_dict().items():
        assert torch.equal(theirs[name], value), name
    ours = [predictor_of(base).decode(encode(base, photograph()), [CLICK]) for base in (served, again)]
    assert np.array_equal(ours[0][0].low_res_logits, ours[1][0].low_res_logits)
    assert ours[0][0].mask.any()


def test_the_original_folder_holds_the_checkpoints_weights_under_metas_names(checkpoint: Path, tmp_path: Path) -> None:
    origin = origin_of(checkpoint, tmp_path)
    state = torch.load(export(origin, how="sam", out=tmp_path / "sam") / "sam_vit.pth", weights_only=True)
    assert state.keys() == origin.base.family.original(origin.base.model).state.keys()
    tokens = state["mask_decoder.mask_tokens.weight"]
    assert torch.equal(tokens, origin.base.model.mask_decoder.mask_tokens.weight)
    assert not torch.equal(tokens, SamModel.from_pretrained(origin.manifest.base_model).mask_decoder.mask_tokens.weight)


def onnx_masks(folder: Path, embedding: Embedding, prompt: Prompt) -> list[np.ndarray]:
    """What onnxruntime makes of a prompt, given as segment-anything's README says."""
    height, width = SAM_FRAME.size_on_canvas(embedding.height_px, embedding.width_px)
    scale = width / embedding.width_px, height / embedding.height_px
    points = [(c.x_px, c.y_px, float(c.is_foreground)) for c in prompt.clicks]
    if prompt.box:
        points += [(prompt.box.x0_px, prompt.box.y0_px, 2.0), (prompt.box.x1_px, prompt.box.y1_px, 3.0)]
    coords = np.array([[(x * scale[0], y * scale[1]) for x, y, _ in points]], np.float32)
    labels = np.array([[label for *_, label in points]], np.float32)
    if not prompt.box:
        coords, labels = np.pad(coords, ((0, 0), (0, 1), (0, 0))), np.pad(labels, ((0, 0), (0, 1)), constant_values=-1)
    has_mask = prompt.mask is not None
    mask = (
        logits_of_mask(prompt.mask, frame=SAM_FRAME)[None, None].numpy()
        if has_mask
        else np.zeros((1, 1, 256, 256), np.float32)
    )
    size = np.array([embedding.height_px, embedding.width_px], np.float32)
    given = (embedding.features.numpy(), coords, labels, mask, np.array([has_mask], np.float32), size)
    session = onnxruntime.InferenceSession(folder / DECODER_FILE, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(INPUTS, given, strict=True)))


def assert_onnx_agrees(folder: Path, predictor: Predictor, embedding: Embedding, prompt: Prompt) -> None:
    """Against the predictor that serves, which computes in another order."""
    masks, ious, low_res = onnx_masks(folder, embedding, prompt)
    with torch.inference_mode():
        logits, predicted = predictor.four_masks(embedding, prompt_tensors([prompt], embedding, frame=SAM_FRAME))
    assert np.abs(low_res[0] - logits[0].numpy()).max() < ONNX_TOLERANCE
    assert np.abs(ious[0] - predicted[0].numpy()).max() < ONNX_TOLERANCE
    (served,) = predictor.decode(embedding, [prompt])
    rows, columns = SAM_FRAME.grid_reached(embedding.height_px, embedding.width_px)
    shown = served.low_res_logits[:rows, :columns]
    (chosen,) = (n for n in range(4) if np.allclose(logits[0, n, :rows, :columns].numpy(), shown, atol=1e-4))
    assert masks.shape == (1, 4, embedding.height_px, embedding.width_px)
    # Where a logit is nothing but rounding, either side of zero is right.
    assert np.mean((masks[0, chosen] > 0) != served.mask) < 1e-4


def test_onnxruntime_gives_the_masks_that_are_served(checkpoint: Path, tmp_path: Path) -> None:
    folder = export(origin_of(checkpoint, tmp_path), how="onnx", out=tmp_path / "onnx")
    onnx.checker.check_model(folder / DECODER_FILE, full_check=True)
    base = load_base(str(checkpoint), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
    embedding = encode(base, photograph())
    mask = np.zeros((300, 400), np.bool_)
    mask[40:160, 30:200] = True
    again = Prompt(clicks=(Click(100.5, 80.0),), box=Box(30.0, 40.0, 200.0, 160.0), mask=mask)
    for prompt in (CLICK, CLICKS_IN_BOX, Prompt(box=Box(5.0, 9.0, 200.0, 250.0)), again):
        assert_onnx_agrees(folder, predictor_of(base), embedding, prompt)


@pytest.mark.weights
def test_mobile_sam_goes_out_in_every_format_and_comes_back_with_the_same_masks(
    mobile_base: BaseModel, astronaut: Image.Image, tmp_path: Path
) -> None:
    """SAMLOOP_MODEL may name the transformers folder or the mobile_sam.pt."""
    cache = Path(mobile_base.model.config._name_or_path).parents[1]
    origin = Origin(load_as_stored("mobile-sam", cache_dir=cache))
    folders = {how: export(origin, how=how, out=tmp_path / how) for how in ("hf", "sam", "onnx")}
    assert "SAMLOOP_MODEL=<this folder>" in (folders["hf"] / "README.md").read_text()
    face = Prompt(box=Box(170.0, 60.0, 280.0, 220.0))
    embedding = encode(mobile_base, astronaut)
    (expected,) = predictor_of(mobile_base).decode(embedding, [face])
    hf, sam = (
        load_base(str(path), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
        for path in (folders["hf"], folders["sam"] / "mobile_sam.pt")
    )
    assert hf.fingerprint == mobile_base.fingerprint, "the very same weights: no need to encode once more"
    # From mobile_sam.pt they differ in the last bit: the BatchNorms divide by a number that is nearly one.
    for base, seen in ((hf, embedding), (sam, encode(sam, astronaut))):
        (found,) = predictor_of(base).decode(seen, [face])
        assert np.mean(found.mask != expected.mask) < 1e-4
    assert_onnx_agrees(folders["onnx"], predictor_of(mobile_base), embedding, face)
    assert_onnx_agrees(folders["onnx"], predictor_of(mobile_base), embedding, Prompt(clicks=(Click(225.0, 130.0),)))


@pytest.mark.parametrize("how", ["hf", "sam", "onnx"])
def test_every_folder_tells_what_it_is_and_vouches_for_its_files(checkpoint: Path, tmp_path: Path, how: Format) -> None:
    manifest = read_manifest(checkpoint)
    folder = export(origin_of(checkpoint, tmp_path), how=how, out=tmp_path / "new" / "folder")
    told = json.loads((folder / MANIFEST_FILE).read_text())
    assert (told["version"], told["method"], told["format"]) == (manifest.version, "decoder", how)
    assert told["base_fingerprint"] == manifest.base_fingerprint != told["fingerprint"]
    assert set(told["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    for name, file in told["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"]
    card = (folder / "README.md").read_text()
    assert manifest.version in card
    assert "## Licence" in card
    assert [path.name for path in folder.parent.iterdir()] == ["folder"], "nothing is left beside it"


def test_the_card_shows_what_was_measured_before_and_after(
    tiny_base: BaseModel, manifest: Manifest, tmp_path: Path
) -> None:
    metrics = CheckpointMetrics(
        base=ModelFigures(box=MaskFigures(iou=0.5, boundary_iou=0.25)),
        candidate=ModelFigures(box=MaskFigures(iou=0.75, boundary_iou=0.5)),
    )
    origin = Origin(tiny_base, dataclasses.replace(manifest, metrics=metrics))
    card = (export(origin, how="onnx", out=tmp_path / "onnx") / "README.md").read_text()
    assert "| box | iou | 0.500 | 0.750 |\n| box | boundary iou | 0.250 | 0.500 |" in card


def test_the_card_says_that_a_semantic_head_stays_behind(tiny_base: BaseModel, tmp_path: Path) -> None:
    decoder, ground = tiny_base.model.mask_decoder, tiny_base.model.prompt_encoder.no_mask_embed.weight[0]
    with_head = dataclasses.replace(tiny_base, semantic=SemanticHead(decoder, ground=ground, labels=("Coin",)))
    cards = [
        (export(Origin(base), how="hf", out=tmp_path / name) / "README.md").read_text()
        for name, base in (("with", with_head), ("without", tiny_base))
    ]
    assert ["semantic head" in card for card in cards] == [True, False]


def test_what_lies_in_the_folder_is_never_overwritten(tiny_base: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="mine is not empty, and nothing is ever overwritten"):
        export(Origin(tiny_base), how="sam", out=tmp_path / "mine")
    with pytest.raises(BadInput, match=r"thesis\.txt is no folder"):
        export(Origin(tiny_base), how="sam", out=tmp_path / "mine" / "thesis.txt")
    with pytest.raises(BadInput, match="below cannot be written: "):
        export(Origin(tiny_base), how="sam", out=tmp_path / "mine" / "thesis.txt" / "below")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    assert export(Origin(tiny_base), how="sam", out=tmp_path / "empty").is_dir()


def test_an_export_that_fails_leaves_nothing(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match="cannot be written: No space left on device; nothing was left there"):
        export(Origin(tiny_base), how="sam", out=tmp_path / "sam")
    assert list(tmp_path.iterdir()) == []


def test_lora_goes_out_merged_into_the_layers_that_everybody_has(
    tiny_base: BaseModel, adapted: Callable[[str], Path], lively_dir: Path, tmp_path: Path
) -> None:
    checkpoint = adapted(LORA)
    origin = origin_of(checkpoint, tmp_path)
    folder = export(origin, how="hf", out=tmp_path / "hf")
    merged = SamModel.from_pretrained(folder).state_dict()
    assert merged.keys() == SamModel.from_pretrained(lively_dir).state_dict().keys()
    served, again = (
        load_base(str(path), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
        for path in (checkpoint, folder)
    )
    seen = [encode(base, photograph()).features for base in (served, again, tiny_base)]
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-5, atol=1e-5)
    assert (seen[1] - seen[2]).abs().max() > 0.05, "the adapter changes what is seen"
    state = torch.load(export(origin, how="sam", out=tmp_path / "sam") / "sam_vit.pth", weights_only=True)
    name = "layers.0.attn.qkv.weight"
    assert torch.equal(state["image_encoder." + name.replace("layers", "blocks")], merged[f"vision_encoder.{name}"])


def test_conv_lora_is_refused_where_it_cannot_be_merged_and_leaves_nothing(
    adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    origin = origin_of(adapted(CONV_LORA), tmp_path)
    for how in ("hf", "sam"):
        with pytest.raises(BadInput, match=r"Conv-LoRA cannot be exported as hf or sam: .* --format onnx exports it"):
            export(origin, how=how, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
