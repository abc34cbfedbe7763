"""Every weight of Meta's checkpoints has its place in transformers' models, and the way back, name by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Sam2Config, Sam2Model

from backend.errors import BadInput, BadWeights
from backend.sam.adapters.conv_lora import attach_conv_lora
from backend.sam.families import sam2
from backend.sam.families.original import model_of_file
from backend.sam.families.sam2_names import original_of_sam2, sam2_config, sam2_names
from backend.sam.loading import load_base
from tests.support.original_names import (
    LISTS,
    MEMORY,
    empty_state,
    image_shapes,
    original_shapes,
    read_shapes,
    shapes_of,
)
from tests.support.small_bases import make_lively, write_small_base

SIZES = sorted(path.stem for path in LISTS.glob("sam2*.txt"))


@pytest.mark.parametrize("checkpoint", SIZES)
def test_a_public_checkpoint_has_all_weights_of_transformers_model_and_gets_its_names_back(checkpoint: str) -> None:
    named = sam2_names(empty_state(checkpoint))
    with torch.device("meta"):
        model = Sam2Model(sam2_config(named))
    assert shapes_of(named) == shapes_of(dict(model.state_dict()))
    model.state_dict = lambda: named  # type: ignore[method-assign]
    assert original_shapes(sam2.FAMILY, model) == image_shapes(checkpoint)


def test_all_four_sizes_of_both_releases_are_listed() -> None:
    assert [f"sam2{point}_hiera_{size}" for point in (".1", "") for size in ("b_plus", "l", "s", "t")] == SIZES


def test_an_export_is_read_back_as_the_very_same_weights_without_the_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Sam2Model(Sam2Config()).eval()
    make_lively(model, by=0.01)  # biases are zeros, which nobody could tell apart
    model.shared_image_embedding.positional_embedding = model.prompt_encoder.shared_embedding.positional_embedding
    memory = {name: torch.zeros(shape) for name, shape in read_shapes("sam2.1_hiera_t").items() if MEMORY.match(name)}
    code = sam2.FAMILY.original(model)
    assert code.file == "sam2_hiera_tiny.pt"
    torch.save({"model": {**code.state, **memory}}, tmp_path / code.file)
    read: Any = model_of_file(tmp_path / code.file)
    state = read.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert read.config.vision_config.backbone_config.to_dict() == model.config.vision_config.backbone_config.to_dict()


def test_a_size_that_was_never_published_is_refused_with_what_to_name_instead(tmp_path: Path) -> None:
    base = load_base(str(write_small_base("sam2", tmp_path / "small")), cache_dir=tmp_path, device="cpu")
    code = sam2.FAMILY.original(base.model)
    assert code.file == "sam2_hiera.pt"
    torch.save({"model": code.state}, tmp_path / code.file)
    with pytest.raises(BadWeights, match=r"5 blocks that begins with 8 channels is none of the published four"):
        model_of_file(tmp_path / code.file)


def test_conv_lora_has_no_names_there_and_says_what_to_do_instead(tmp_path: Path) -> None:
    base = load_base(str(write_small_base("sam2", tmp_path / "small")), cache_dir=tmp_path, device="cpu")
    encoder = base.model.vision_encoder
    attach_conv_lora(encoder, places=sam2.FAMILY.places(encoder))
    with pytest.raises(BadInput, match=r"Conv-LoRA cannot be exported as hf or sam"):
        original_of_sam2(base.model)
