"""Renames the weights of SAM 2, 2.1 and similar models between Meta's code and transformers, without video memory."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, Sam2Config, Sam2Model

from backend.errors import BadWeights
from backend.sam.export.original_names import refuse_conv_lora
from backend.sam.families.pretrained import fill
from backend.sam.family import OriginalReader

Renames = Sequence[tuple[re.Pattern[str], str]]
_MEMORY = re.compile(r"memory_|maskmem_|no_mem_pos_enc|no_obj_|obj_ptr_|mask_downsample\.|spatial_perceiver\.")
_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
_SHARED = "shared_image_embedding.positional_embedding"  # a second copy, which only transformers' model has
_POINTS = "prompt_encoder.point_embed.weight"
_KINDS_OF_POINTS = 4
# Meta's names and transformers'; `#` is a number, `^` the beginning. All renames apply, one after the other.
_DECODER = (
    ("^no_mem_embed", "^no_memory_embedding"),
    ("^sam_prompt_encoder.", "^prompt_encoder."),
    ("^sam_mask_decoder.", "^mask_decoder."),
    (".norm_final_attn.", ".layer_norm_final_attn."),
    (".norm#.", ".layer_norm#."),
    (".out_proj.", ".o_proj."),
    (".mlp.layers.0.", ".mlp.proj_in."),
    (".mlp.layers.1.", ".mlp.proj_out."),
    ("mlps.#.layers.0.", "mlps.#.proj_in."),
    ("mlps.#.layers.1.", "mlps.#.layers.0."),
    ("mlps.#.layers.2.", "mlps.#.proj_out."),
    ("_head.layers.0.", "_head.proj_in."),
    ("_head.layers.1.", "_head.layers.0."),
    ("_head.layers.2.", "_head.proj_out."),
    (".output_upscaling.0.", ".upscale_conv1."),
    (".output_upscaling.1.", ".upscale_layer_norm."),
    (".output_upscaling.3.", ".upscale_conv2."),
    (".mask_downscaling.0.", ".mask_embed.conv1."),
    (".mask_downscaling.1.", ".mask_embed.layer_norm1."),
    (".mask_downscaling.3.", ".mask_embed.conv2."),
    (".mask_downscaling.4.", ".mask_embed.layer_norm2."),
    (".mask_downscaling.6.", ".mask_embed.conv3."),
    (".pe_layer.positional_encoding_gaussian_matrix", ".shared_embedding.positional_embedding"),
)
_ENCODER = (
    ("^image_encoder.neck.convs.#.conv.", "^vision_encoder.neck.convs.#."),
    ("^image_encoder.trunk.", "^vision_encoder.backbone."),
    ("^vision_encoder.backbone.patch_embed.proj.", "^vision_encoder.backbone.patch_embed.projection."),
)
# By the width of the first stage and the number of blocks: the numbers of sam2's configurations that no shape tells.
_SIZES: Mapping[tuple[int, int], Mapping[str, list[int]]] = {
    (96, 12): {"blocks_per_stage": [1, 2, 7, 2], "global_attention_blocks": [5, 7, 9]},
    (96, 16): {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    (112, 24): {"blocks_per_stage": [2, 3, 16, 3], "global_attention_blocks": [12, 16, 20]},
    (144, 48): {
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}
_HEADS = {96: 1, 112: 2, 144: 2}  # of the first stage, by its width


def sam2_from_original(state: Mapping[str, Tensor]) -> Sam2Model:
    """Build the model from a state with sam2's own names. Leaves out the memory for videos.

    Raises:
        BadWeights: a weight is missing, unknown or of a wrong shape (the message names it); or the size is none of the
            published four.
    """
    named = sam2_names(state)
    model = Sam2Model(sam2_config(named))
    fill(model, named, title="a SAM 2's")
    return model


def sam2_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state from the names of Meta's code to those of `Sam2Model`.

    Returns:
        Weights in float32 and counters, without those of the memory for videos.
    """
    image = {name: value for name, value in state.items() if not _MEMORY.match(name)}
    return complete({rename(name, _TO_OURS): value for name, value in image.items()})


def complete(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Complete a renamed state: add the copies that transformers' model has, and join the kinds of points.

    Args:
        named: with transformers' names, but with a weight for every kind of point, such as
            `prompt_encoder.point_embeddings.0.weight`.
    """
    wide = {name: (value.float() if value.is_floating_point() else value).contiguous() for name, value in named.items()}
    points = sorted(name for name in wide if name.startswith("prompt_encoder.point_embeddings."))
    wide[_POINTS] = torch.cat([wide.pop(name) for name in points])
    wide[_SHARED] = wide[_POSITIONS]
    return wide


def original_of_sam2(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return every weight of a model like `Sam2Model` in float32 under the name that Meta's code gives it.

    Raises:
        BadInput: the encoder has Conv-LoRA's layers, for which the original has no names.
    """
    refuse_conv_lora(model)
    state: dict[str, Tensor] = {}
    for name, value in split_points(model.state_dict()).items():
        weight = value.detach().cpu()
        state[rename(name, _TO_THEIRS)] = (weight.float() if weight.is_floating_point() else weight).contiguous()
    return state


def split_points(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The way back of `complete`: a kind of point is a weight, and what transformers has twice stands once."""
    once = {name: value for name, value in state.items() if name not in {_POINTS, _SHARED}}
    kinds = {
        f"prompt_encoder.point_embeddings.{kind}.weight": state[_POINTS][kind : kind + 1]
        for kind in range(_KINDS_OF_POINTS)
    }
    return once | kinds


def rename(name: str, renames: Renames) -> str:
    """Apply every rename, one after the other."""
    for pattern, target in renames:
        name = pattern.sub(target, name)
    return name


def compile_renames(pairs: Sequence[tuple[str, str]]) -> Renames:
    """Compile pairs, in the notation of this module, to renames from the first of a pair to the second."""
    return tuple(
        (
            re.compile(re.escape(old).replace(r"\^", "^").replace(r"\#", r"(\d+)")),
            new.removeprefix("^").replace("#", r"\1"),
        )
        for old, new in pairs
    )


def sam2_config(named: Mapping[str, Tensor]) -> Sam2Config:
    """Return the configuration that fits the shapes of weights with transformers' names.

    Raises:
        BadWeights: the size is none of the published four.
    """
    width, *background = named["vision_encoder.backbone.pos_embed"].shape[1:]
    blocks = sum(name.endswith(".attn.qkv.weight") for name in named)
    if (width, blocks) not in _SIZES:
        raise BadWeights(
            f"a SAM 2 of {blocks} blocks that begins with {width} channels is none of the published four: "
            "name a save_pretrained folder, whose config.json tells its size"
        )
    widths = [width << stage for stage in range(4)]
    backbone: dict[str, object] = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": _HEADS[width],
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [_HEADS[width] << stage for stage in range(4)],
        "window_positional_embedding_background_size": background,
        **_SIZES[width, blocks],
    }
    return Sam2Config(vision_config={"backbone_config": backbone, "backbone_channel_list": widths[::-1]})


DECODER_TO_OURS = compile_renames(_DECODER)
_TO_OURS = (*compile_renames(_ENCODER), *DECODER_TO_OURS)
DECODER_TO_THEIRS = compile_renames([(ours, theirs) for theirs, ours in reversed(_DECODER)])
_TO_THEIRS = compile_renames([(ours, theirs) for theirs, ours in reversed((*_ENCODER, *_DECODER))])


READERS = (OriginalReader(marks=("image_encoder.trunk.",), read=sam2_from_original),)
