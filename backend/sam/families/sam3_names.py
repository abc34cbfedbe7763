"""Renames the weights of SAM 3's tracker from Meta's names and back; Meta's file also holds detector and memory."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Sam3TrackerConfig, Sam3TrackerModel

from backend.sam.export.original_names import refuse_conv_lora
from backend.sam.families.pretrained import fill
from backend.sam.families.sam2_names import (
    DECODER_TO_OURS,
    DECODER_TO_THEIRS,
    compile_renames,
    complete,
    rename,
    split_points,
)
from backend.sam.family import OriginalReader

TRUNK, NECK, TRACKER = (
    "detector.backbone.vision_backbone.trunk.",
    "detector.backbone.vision_backbone.sam2_convs.",
    "tracker.",
)
_IMAGE = ("no_mem_embed", "sam_prompt_encoder.", "sam_mask_decoder.")  # of the tracker; the rest belongs to the memory
# Meta's names and transformers', as in `sam2_names`. Of a name's renames one applies: the first that matches.
_ENCODER = (
    ("^pos_embed", "^embeddings.position_embeddings"),
    ("^patch_embed.proj.", "^embeddings.patch_embeddings.projection."),
    ("^ln_pre.", "^layer_norm."),
    ("^blocks.#.norm", "^layers.#.layer_norm"),
    ("^blocks.#.attn.proj.", "^layers.#.attention.o_proj."),
    ("^blocks.#.attn.", "^layers.#.attention."),
    ("^blocks.#.", "^layers.#."),
)
_FPN = (
    (".dconv_2x2_0.", ".scale_layers.0."),
    (".dconv_2x2.", ".scale_layers.0."),
    (".dconv_2x2_1.", ".scale_layers.2."),
    (".conv_1x1.", ".proj1."),
    (".conv_3x3.", ".proj2."),
)
_MLP = ((".mlp.lin1.", ".mlp.proj_in."), (".mlp.lin2.", ".mlp.proj_out."))
_TO_OURS = {name: compile_renames(pairs) for name, pairs in (("encoder", _ENCODER), ("fpn", _FPN), ("mlp", _MLP))}
_TO_THEIRS = {
    name: compile_renames([(ours, theirs) for theirs, ours in pairs])
    for name, pairs in (("encoder", _ENCODER), ("fpn", _FPN), ("mlp", _MLP))
}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_BACKBONE, _FPN_LAYERS = "vision_encoder.backbone.", "vision_encoder.neck.fpn_layers."
_EPS = 1e-5  # of the encoder's norms in Meta's code; transformers' default is 1e-6


def sam3_tracker_from_original(state: Mapping[str, Tensor]) -> Sam3TrackerModel:
    """Build the tracker from a state with sam3's own names. Leaves out the detector and the memory for videos.

    Raises:
        BadWeights: a weight is missing, unknown or of a wrong shape. The message names it.
    """
    model = Sam3TrackerModel(sam3_tracker_config())
    fill(model, sam3_tracker_names(state), title="a SAM 3's")
    return model


def sam3_tracker_config() -> Sam3TrackerConfig:
    """Return the configuration of the only published size."""
    return Sam3TrackerConfig(
        vision_config={"backbone_config": {"model_type": "sam3_vit_model", "layer_norm_eps": _EPS}}
    )


def sam3_tracker_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state from sam3's names to those of `Sam3TrackerModel`, in float32.

    In sam3, one layer gives queries, keys and values, and the first position is that of a token that transformers'
    encoder does not have.
    """
    return complete(dict(iterate_named(state)))


def iterate_named(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield those weights of a state that an image needs, under transformers' names."""
    for name, value in state.items():
        if name.startswith(TRUNK):
            yield from _iterate_encoder(name.removeprefix(TRUNK), value)
        elif name.startswith(NECK):
            yield rename(f"{_FPN_LAYERS}{name.removeprefix(NECK)}", _TO_OURS["fpn"]), value
        elif name.startswith(TRACKER) and (own := name.removeprefix(TRACKER)).startswith(_IMAGE):
            yield rename(own, (*_TO_OURS["mlp"], *DECODER_TO_OURS)), value


def _iterate_encoder(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    ours = f"{_BACKBONE}{rename(name, _TO_OURS['encoder'])}"
    if ".attention.qkv." in ours:
        for projection, part in zip(_PROJECTIONS, value.chunk(3), strict=True):
            yield ours.replace(".qkv.", f".{projection}."), part
    elif name == "pos_embed":
        yield ours, value[:, 1:]
    elif not name.endswith(".freqs_cis"):  # these follow from the sizes
        yield ours, value


def original_of_sam3(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every weight of a `Sam3TrackerModel` in float32 under the name that Meta's code gives it.

    The first position is zeros, since that code leaves it out as transformers does.

    Raises:
        BadInput: the encoder has Conv-LoRA's layers, for which there is no name there.
    """
    refuse_conv_lora(model)
    ours = {name: value.detach().cpu().float().contiguous() for name, value in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for name, value in split_points(ours).items():
        if name.startswith(_BACKBONE):
            state |= _encoder_to_theirs(name.removeprefix(_BACKBONE), ours)
        elif name.startswith(_FPN_LAYERS):
            level = name.removeprefix(_FPN_LAYERS)
            theirs = rename(f".{level}", _TO_THEIRS["fpn"]).removeprefix(".")
            if f"{_FPN_LAYERS}{level.split('.')[0]}.scale_layers.2.weight" not in ours:
                theirs = theirs.replace("dconv_2x2_0.", "dconv_2x2.")
            state[f"{NECK}{theirs}"] = value
        else:
            state[f"{TRACKER}{rename(name, (*_TO_THEIRS['mlp'], *DECODER_TO_THEIRS))}"] = value
    return state


def _encoder_to_theirs(name: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weight of Meta's encoder that this one, or its first third, becomes; nothing for the other thirds."""
    theirs, value = f"{TRUNK}{rename(name, _TO_THEIRS['encoder'])}", ours[f"{_BACKBONE}{name}"]
    projection = next((part for part in _PROJECTIONS if f".{part}." in name), None)
    if projection is None:
        return {theirs: functional.pad(value, (0, 0, 1, 0)) if theirs == f"{TRUNK}pos_embed" else value}
    if projection != _PROJECTIONS[0]:
        return {}
    thirds = [ours[f"{_BACKBONE}{name.replace(projection, part)}"] for part in _PROJECTIONS]
    return {theirs.replace(projection, "qkv"): torch.cat(thirds)}


READERS = (OriginalReader(marks=(NECK,), read=sam3_tracker_from_original),)
