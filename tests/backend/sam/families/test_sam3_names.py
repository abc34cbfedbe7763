"""Every weight of the tracker in Meta's checkpoint of SAM 3 has its place in transformers' model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, Sam3TrackerModel
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel, Sam3ViTModel

from backend.errors import BadWeights
from backend.sam.families import sam3_names
from backend.sam.families import sam3_tracker as sam3_tracker_family
from backend.sam.families.original import model_of_file
from backend.sam.families.sam3_names import NECK, TRUNK, original_of_sam3, sam3_tracker_config, sam3_tracker_names
from tests.support.original_names import empty_state, read_shapes, shapes_of
from tests.support.small_bases import make_lively
from tests.support.small_bases.sam3_tracker import build_sam3_tracker

PARTS = ("q_proj", "k_proj", "v_proj")


def test_the_public_checkpoint_has_all_weights_of_transformers_tracker() -> None:
    AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
    AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)
    with torch.device("meta"):
        model = Sam3TrackerModel(sam3_tracker_config())
    assert shapes_of(sam3_tracker_names(empty_state("sam3"))) == shapes_of(dict(model.state_dict()))


def test_what_is_exported_has_the_names_and_shapes_of_the_public_checkpoint() -> None:
    AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
    AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)
    with torch.device("meta"):
        model = Sam3TrackerModel(sam3_tracker_config())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lambda tensor: tensor)  # there are no numbers to bring there
        state = original_of_sam3(model)
    image = {name: shape for name, shape in read_shapes("sam3").items() if sam3_tracker_names_of(name)}
    assert shapes_of(state) == image


def test_an_export_is_read_back_as_the_very_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = build_sam3_tracker(levels=4)
    make_lively(small, by=0.1)
    small.shared_image_embedding.positional_embedding = small.prompt_encoder.shared_embedding.positional_embedding
    monkeypatch.setattr(sam3_names, "sam3_tracker_config", lambda: small.config)
    code = sam3_tracker_family.FAMILY.original(small)
    theirs = original_names(small)
    assert code.state.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in code.state.items())
    torch.save({"model": code.state}, tmp_path / code.file)
    read: Any = model_of_file(tmp_path / code.file).state_dict()
    assert all(torch.equal(value, read[name]) for name, value in small.state_dict().items())


def test_the_detectors_own_neck_and_the_memory_for_videos_are_left_out() -> None:
    left_out = {name for name in read_shapes("sam3") if not sam3_tracker_names_of(name)}
    assert {name.split(".")[0] for name in left_out} == {"detector", "tracker"}
    assert all(
        name.startswith(("detector.backbone.vision_backbone.convs.", "tracker.")) or name.endswith(".freqs_cis")
        for name in left_out
    )
    assert not any(name.startswith(("tracker.sam_", NECK)) for name in left_out)


def sam3_tracker_names_of(name: str) -> bool:
    """Whether a weight of the checkpoint stands in the model."""
    return any(True for _ in sam3_names.iterate_named({name: torch.zeros(3, 3, 3, 3)}))


def test_queries_keys_and_values_are_the_thirds_of_one_layer_and_the_first_position_is_left_out() -> None:
    state = empty_state("sam3")
    state[f"{TRUNK}blocks.7.attn.qkv.bias"] = torch.arange(9.0)
    state[f"{TRUNK}pos_embed"] = torch.arange(5.0).view(1, 5, 1)
    named = sam3_tracker_names(state)
    layer = "vision_encoder.backbone.layers.7.attention"
    assert [named[f"{layer}.{part}.bias"].tolist() for part in PARTS] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert named["vision_encoder.backbone.embeddings.position_embeddings"].flatten().tolist() == [1, 2, 3, 4]


def test_a_file_is_read_as_the_tracker_and_refused_where_a_weight_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = build_sam3_tracker(levels=4)
    make_lively(small, by=0.1)
    small.shared_image_embedding.positional_embedding = small.prompt_encoder.shared_embedding.positional_embedding
    monkeypatch.setattr(sam3_names, "sam3_tracker_config", lambda: small.config)
    state = original_names(small)
    torch.save({"model": state}, tmp_path / "sam3.pt")
    read: Any = model_of_file(tmp_path / "sam3.pt").state_dict()
    assert all(torch.equal(value, read[name]) for name, value in small.state_dict().items())
    del state["tracker.sam_mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "cut.pt")
    with pytest.raises(BadWeights, match=r"not a SAM 3's weights.*mask_decoder\.iou_token\.weight missing"):
        model_of_file(tmp_path / "cut.pt")


def original_names(model: Sam3TrackerModel) -> dict[str, Tensor]:
    """The weights as Meta's file holds them, found by what the names of the public checkpoint become."""
    ours = dict(model.state_dict())
    state: dict[str, Tensor] = {}
    for name in read_shapes("sam3"):
        named = dict(sam3_names.iterate_named({name: torch.zeros(3, 3, 3, 3)}))
        if any(target.startswith("prompt_encoder.point_embeddings.") for target in named):
            kind = int(name.split(".")[-2])
            state[name] = ours["prompt_encoder.point_embed.weight"][kind : kind + 1]
        elif named and named.keys() <= ours.keys():
            state[name] = torch.cat([ours[target] for target in named])
    first = f"{TRUNK}pos_embed"
    state[first] = functional.pad(state[first], (0, 0, 1, 0))
    return state
