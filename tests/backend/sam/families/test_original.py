"""Files of weights under other names than transformers': read whatever wraps them, or refused in one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import SamConfig, SamModel

from backend.errors import BadWeights
from backend.sam.families.original import model_of_file
from backend.sam.families.vit import FAMILY
from backend.sam.loading import load_base
from backend.sam.weights import base_weights


@pytest.fixture(scope="module")
def model() -> SamModel:
    """A small SAM whose decoder has eight heads, as every published one has."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "mlp_dim": 24,
            "global_attn_indexes": [1],
            "window_size": 7,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 24, "layer_norm_eps": 1e-5},
    )
    sam = SamModel(config).eval()
    with torch.no_grad():
        for weight in {id(weight): weight for weight in sam.parameters()}.values():
            weight.add_(0.01 * torch.randn(weight.shape))
    return sam


@pytest.fixture(scope="module")
def meta(model: SamModel) -> dict[str, Tensor]:
    """Its weights under segment-anything's names."""
    return dict(FAMILY.original(model).state)


WRAPPERS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "plain": lambda state: state,
    "in a model": lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}}},
    "of several GPUs": lambda state: {f"module.{name}": value for name, value in state.items()},
    "of micro-sam": lambda state: {"model_state": {f"sam.{name}": value for name, value in state.items()}},
    "with buffers": lambda state: state | {"pixel_mean": torch.zeros(3, 1, 1)},
    "halved": lambda state: {name: value.bfloat16() for name, value in state.items()},
}


def assert_the_same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("wrapping", [name for name in WRAPPERS if name != "halved"])
def test_a_file_of_metas_code_is_the_model_whatever_wraps_it(
    model: SamModel, meta: dict[str, Tensor], tmp_path: Path, wrapping: str
) -> None:
    torch.save(WRAPPERS[wrapping](meta), tmp_path / "sam_vit_b.pth")
    read: Any = model_of_file(tmp_path / "sam_vit_b.pth")
    assert_the_same(read.state_dict(), model.state_dict())
    vision, decoder = read.config.vision_config, read.config.mask_decoder_config
    assert (vision.global_attn_indexes, vision.window_size, vision.image_size) == ([1], 7, 1024)
    assert (vision.num_attention_heads, decoder.layer_norm_eps) == (2, 1e-5)


def test_halved_weights_are_widened(meta: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(WRAPPERS["halved"](meta), tmp_path / "half.pt")
    assert {value.dtype for value in model_of_file(tmp_path / "half.pt").state_dict().values()} == {torch.float32}


def test_a_notebooks_file_under_transformers_names_is_the_model(model: SamModel, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "notebook.pth")
    read: Any = model_of_file(tmp_path / "notebook.pth")
    assert_the_same(read.state_dict(), model.state_dict())
    assert read.config.mask_decoder_config.layer_norm_eps == SamConfig().mask_decoder_config.layer_norm_eps


def test_a_file_is_converted_once_and_served(meta: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(meta, tmp_path / "sam_vit_b.pth")
    folder = base_weights(str(tmp_path / "sam_vit_b.pth"), cache_dir=tmp_path / "cache")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    base = load_base(str(tmp_path / "sam_vit_b.pth"), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
    assert base.family is FAMILY
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_with_a_pickle_alone_is_converted(model: SamModel, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    base = load_base(str(folder), cache_dir=tmp_path / "cache", device="cpu", dtype="float32")
    assert_the_same(base.model.state_dict(), model.state_dict())
    assert list((tmp_path / "cache" / "weights").glob("old-*/model.safetensors"))


FAULTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "a weight missing": lambda state: {n: v for n, v in state.items() if n != "mask_decoder.iou_token.weight"},
    "the position missing": lambda state: {n: v for n, v in state.items() if n != "image_encoder.pos_embed"},
    "a weight too many": lambda state: state | {"image_encoder.adapter.weight": torch.zeros(1)},
    "another shape": lambda state: state | {"mask_decoder.iou_token.weight": torch.zeros(1, 9)},
    "not finite": lambda state: state | {"mask_decoder.iou_token.weight": torch.full((1, 32), float("nan"))},
    "another model": lambda _: {"backbone.conv.weight": torch.zeros(1)},
    "no tensors": lambda _: {"model": {"a": 1}},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_such_file_is_refused_in_one_sentence_with_the_next_step(
    meta: dict[str, Tensor], tmp_path: Path, fault: str
) -> None:
    torch.save(FAULTS[fault](meta), tmp_path / "x.pth")
    with pytest.raises(BadWeights) as refused:
        model_of_file(tmp_path / "x.pth")
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 500
    assert "name a file of" in said or "fetch or write the file again" in said


@pytest.mark.parametrize(("content", "told"), [(b"no pickle", "(Unsupported operand 110)"), (b"", "(EOFError)")])
def test_a_file_that_pytorch_cannot_read_is_refused_without_its_advice_to_load_it_unsafely(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(BadWeights) as refused:
        model_of_file(tmp_path / "x.pth")
    said = str(refused.value)
    assert told in said
    assert "weights_only" not in said
    assert "name a file of" in said
