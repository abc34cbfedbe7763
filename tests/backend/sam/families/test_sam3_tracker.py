"""SAM 3's tracker: the maps and the masks are those of transformers' own forward pass on a canvas of 1008 px."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Sam3TrackerModel

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.canvas import pixels_on_canvas
from backend.sam.embeddings.memory import halve
from backend.sam.families.sam3_tracker import FAMILY
from backend.sam.loading import BaseModel, load_base
from backend.sam.predictor import Predictor, encode
from backend.sam.prompts import prompt_tensors
from finetuner.methods import new_method
from tests.support.plain_masks import HEIGHT, IMAGE, PROMPTS, WIDTH, answers, assert_masks_of_transformers
from tests.support.small_bases import make_lively
from tests.support.small_bases.sam3_tracker import build_sam3_tracker


@pytest.fixture(scope="module")
def sam3_folder(small_folder: Callable[[str], Path]) -> Path:
    """A `save_pretrained` folder of a random tracker of SAM 3."""
    return small_folder("sam3-tracker")


@pytest.fixture(scope="module")
def base_folder(sam3_folder: Path) -> Path:
    return sam3_folder


@pytest.fixture(scope="module")
def plain(sam3_folder: Path) -> Sam3TrackerModel:
    return Sam3TrackerModel.from_pretrained(sam3_folder).eval()


@pytest.fixture(scope="module")
def maps(plain: Sam3TrackerModel) -> list[Tensor]:
    return list(plain.get_image_embeddings(pixels_on_canvas(IMAGE, frame=FAMILY.frame)))


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_every_kind_of_prompt_gets_transformers_masks(
    base: BaseModel, predictor: Predictor, plain: Sam3TrackerModel, maps: list[Tensor], prompt: Prompt
) -> None:
    assert_masks_of_transformers(predictor, encode(base, IMAGE), plain, prompt=prompt, image_embeddings=maps)


def test_several_objects_get_the_masks_that_transformers_gives_them_together(
    base: BaseModel, predictor: Predictor, plain: Sam3TrackerModel, maps: list[Tensor]
) -> None:
    embedding, boxes = encode(base, IMAGE), [Prompt(box=Box(5.0 * n, 4.0, 30.0 + 6 * n, 50.0)) for n in range(3)]
    single, _ = answers(
        plain, prompt_tensors(boxes, embedding, frame=FAMILY.frame), multimask=False, image_embeddings=maps
    )
    for number, predicted in enumerate(predictor.decode(embedding, boxes)):
        np.testing.assert_allclose(predicted.low_res_logits, single[number, 0].numpy(), atol=2e-3, rtol=1e-3)


def test_an_image_is_stretched_to_1008_px_between_minus_one_and_one() -> None:
    pixels = pixels_on_canvas(IMAGE, frame=FAMILY.frame)
    assert pixels.shape == (1, 3, 1008, 1008)
    assert -1 <= float(pixels.min()) < -0.5 < 0.5 < float(pixels.max()) <= 1


def test_an_embedding_has_maps_of_72_144_and_288_cells_a_side(base: BaseModel) -> None:
    maps = halve(encode(base, IMAGE)).maps
    assert [tuple(values.shape) for values in maps] == [(1, 32, 72, 72), (1, 8, 144, 144), (1, 4, 288, 288)]


def test_a_mask_on_cells_of_three_and_a_half_px_keeps_its_shape(predictor: Predictor, base: BaseModel) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:40, 30:60] = True
    tensors = prompt_tensors(
        [Prompt(box=Box(30.0, 20.0, 60.0, 40.0), mask=mask)], encode(base, IMAGE), frame=FAMILY.frame
    )
    assert tensors.masks is not None
    assert tensors.masks.shape == (1, 1, 288, 288)
    inside = (tensors.masks[0, 0] > 0).numpy()
    expected = np.zeros((288, 288), bool)
    expected[20 * 288 // HEIGHT : 40 * 288 // HEIGHT, 30 * 288 // WIDTH : 60 * 288 // WIDTH] = True
    assert (inside & expected).sum() / (inside | expected).sum() > 0.999


def test_the_fourth_level_that_the_detector_reads_changes_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    four: Any = build_sam3_tracker(levels=4).eval()
    make_lively(four, by=0.1)
    four.save_pretrained(tmp_path / "four")
    three: Any = build_sam3_tracker(levels=3).eval()
    three.load_state_dict({name: value for name, value in four.state_dict().items() if "fpn_layers.3." not in name})
    three.save_pretrained(tmp_path / "three")
    with_it, without = (
        encode(load_base(str(tmp_path / name), cache_dir=tmp_path, device="cpu", dtype="float32"), IMAGE)
        for name in ("four", "three")
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(with_it.maps, without.maps, strict=True))


def test_the_folder_that_meta_publishes_for_videos_gives_its_tracker(
    sam3_folder: Path, plain: Sam3TrackerModel, tmp_path: Path
) -> None:
    """Names and config as transformers' `Sam3VideoModel` writes them, with a weight of the detector beside them."""
    config = json.loads((sam3_folder / "config.json").read_text())
    folder = tmp_path / "video"
    folder.mkdir()
    video = {"architectures": ["Sam3VideoModel"], "model_type": "sam3_video", "tracker_config": config}
    (folder / "config.json").write_text(json.dumps(video))
    state = {"detector_model.text_encoder.weight": torch.zeros(1)}
    for name, value in plain.state_dict().items():
        if name.startswith("vision_encoder.backbone."):
            state[f"detector_model.{name}"] = value
        elif name.startswith("vision_encoder.neck."):
            state[name.replace("vision_encoder.neck.", "tracker_neck.")] = value
        else:
            state[f"tracker_model.{name}"] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    base, alone = (
        load_base(str(path), cache_dir=tmp_path, device="cpu", dtype="float32") for path in (folder, sam3_folder)
    )
    assert (base.family.name, base.fingerprint) == ("sam3-tracker", alone.fingerprint)


@pytest.mark.parametrize("name", ["decoder", "lora", "conv-lora"])
def test_a_step_of_training_by_every_method_moves_its_weights(base: BaseModel, name: str) -> None:
    method = new_method(name, base)
    logits, ious = method.decode(encode(base, IMAGE), [Prompt(clicks=(Click(40.0, 30.0),))])
    (logits.square().mean() + ious.mean()).backward()
    assert method.trainable()["mask_tokens.weight"].grad is not None
    adapted = [key for key in method.trainable() if key.startswith("vision_encoder.")]
    assert any(".q_proj" in key for key in adapted) == (name != "decoder")
    assert len({key.split(".attention.")[0] for key in adapted}) == (0 if name == "decoder" else 2)


def test_positions_stay_exact_where_the_encoder_is_halved(sam3_folder: Path, tmp_path: Path) -> None:
    half = load_base(str(sam3_folder), cache_dir=tmp_path, device="cpu", dtype="bfloat16")
    dtypes = {name.rpartition(".")[2]: values.dtype for name, values in half.model.vision_encoder.named_buffers()}
    assert dtypes["inv_freq"] == torch.float32
    assert torch.bfloat16 not in dtypes.values()
