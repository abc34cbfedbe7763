"""Every weight of Meta's checkpoints has its place in transformers' models, and the way back, name by name."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam2Config, Sam2Model

from backend.errors import BadInput, BadWeights
from backend.sam.adapters.conv_lora import attach_conv_lora
from backend.sam.families import edgetam, sam2
from backend.sam.families.original import model_of_file
from backend.sam.families.sam2_names import original_of_sam2, sam2_config, sam2_names
from backend.sam.loading import load_base
from tests.support.original_names import LISTS, empty_state, read_shapes, shapes_of
from tests.support.small_bases import make_lively, write_small_base

MEMORY = re.compile(
    r"(memory_attention|memory_encoder|obj_ptr_proj|obj_ptr_tpos_proj|mask_downsample|spatial_perceiver)\."
    r"|(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
)
SIZES = sorted(path.stem for path in LISTS.glob("sam2*.txt"))


def image_shapes(checkpoint: str) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in read_shapes(checkpoint).items() if not MEMORY.match(name)}


@pytest.mark.parametrize("checkpoint", SIZES)
def test_a_public_checkpoint_has_all_weights_of_transformers_model_and_gets_its_names_back(checkpoint: str) -> None:
    named = sam2_names(empty_state(checkpoint))
    with torch.device("meta"):
        model = Sam2Model(sam2_config(named))
    assert shapes_of(named) == shapes_of(dict(model.state_dict()))
    model.state_dict = lambda: named  # type: ignore[method-assign]
    assert {name: value.shape for name, value in _names_back(model).items()} == image_shapes(checkpoint)


def test_all_four_sizes_of_both_releases_are_listed() -> None:
    assert [f"sam2{point}_hiera_{size}" for point in (".1", "") for size in ("b_plus", "l", "s", "t")] == SIZES


def test_edgetams_public_checkpoint_is_sam_2s_decoder_behind_timms_encoder_and_gets_its_names_back() -> None:
    named = sam2_names(empty_state("edgetam"))
    with torch.device("meta"):
        like = Sam2Model(Sam2Config())
    decoder = {name: shape for name, shape in shapes_of(named).items() if not name.startswith("vision_encoder.")}
    assert decoder == {
        name: tuple(value.shape) for name, value in like.state_dict().items() if not name.startswith("vision_encoder.")
    }
    encoder = {name for name in named if name.startswith("vision_encoder.")}
    timm = {name.removeprefix("vision_encoder.backbone.timm_model.") for name in encoder if ".timm_model." in name}
    body = "image_encoder.trunk.body."
    assert timm == {name.removeprefix(body) for name in read_shapes("edgetam") if name.startswith(body)}
    neck = {f"vision_encoder.neck.convs.{level}.{part}" for level in range(4) for part in ("weight", "bias")}
    assert {name for name in encoder if ".timm_model." not in name} == neck
    like.state_dict = lambda: named  # type: ignore[method-assign]
    assert {name: value.shape for name, value in _names_back(like).items()} == image_shapes("edgetam")


def _names_back(model: Any) -> dict[str, Tensor]:
    """`original_of_sam2` of weights without numbers, which cannot be brought to a processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)
        return original_of_sam2(model)


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


def test_edgetams_file_is_refused_with_the_extra_to_install_where_timm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_timm(*_: object, **__: object) -> None:
        raise ImportError("TimmWrapperModel requires the timm library but it was not found in your environment.")

    monkeypatch.setattr(edgetam, "EdgeTamModel", without_timm)
    torch.save({"model": {"image_encoder.trunk.body.stem.conv1.c.weight": torch.zeros(1)}}, tmp_path / "edgetam.pt")
    with pytest.raises(BadWeights, match=r"timm cannot be imported here: install it by `pip install"):
        model_of_file(tmp_path / "edgetam.pt")


def test_conv_lora_has_no_names_there_and_says_what_to_do_instead(tmp_path: Path) -> None:
    base = load_base(str(write_small_base("sam2", tmp_path / "small")), cache_dir=tmp_path, device="cpu")
    encoder = base.model.vision_encoder
    attach_conv_lora(encoder, places=sam2.FAMILY.places(encoder))
    with pytest.raises(BadInput, match=r"Conv-LoRA cannot be exported as hf or sam"):
        original_of_sam2(base.model)
