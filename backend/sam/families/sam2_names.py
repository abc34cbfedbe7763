"""SAM 2 and 2.1 under the names of Meta's sam2, brought to transformers': all that an image needs, not the memory."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import Sam2Config, Sam2Model

from backend.errors import BadWeights
from backend.sam.families.pretrained import fill

_MEMORY = re.compile(r"memory_|maskmem_|no_mem_pos_enc|no_obj_|obj_ptr_|mask_downsample\.")
_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
_POINTS = "prompt_encoder.point_embeddings."
# All of them, one after the other.
_RENAMES = tuple(
    (re.compile(pattern), target)
    for pattern, target in (
        (r"^no_mem_embed$", "no_memory_embedding"),
        (r"^sam_prompt_encoder\.", "prompt_encoder."),
        (r"^sam_mask_decoder\.", "mask_decoder."),
        (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
        (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
        (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
        (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"\.out_proj\.", ".o_proj."),
        (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
        (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
        (r"(mlps\.\d+|_head)\.layers\.0\.", r"\1.proj_in."),
        (r"(mlps\.\d+|_head)\.layers\.1\.", r"\1.layers.0."),
        (r"(mlps\.\d+|_head)\.layers\.2\.", r"\1.proj_out."),
        (r"\.output_upscaling\.0\.", ".upscale_conv1."),
        (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
        (r"\.output_upscaling\.3\.", ".upscale_conv2."),
        (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
        (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
        (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
        (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
        (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
        (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    )
)
# By the width of the first stage and the number of blocks: what no weight's shape tells of sam2's four configurations.
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
    """Build the model from sam2's own names; those of the memory for videos are left out.

    Raises:
        BadWeights: naming what is missing, unknown or of a wrong shape; or the size is none of the published four.
    """
    named = sam2_names(state)
    model = Sam2Model(_config_of(named))
    fill(model, named, title="a SAM 2's")
    return model


def sam2_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state from sam2's names to those of `Sam2Model`, in float32."""
    named: dict[str, Tensor] = {}
    for name, value in state.items():
        if _MEMORY.match(name):
            continue
        for pattern, target in _RENAMES:
            name = pattern.sub(target, name)  # noqa: PLW2901 - renamed step by step
        named[name] = value.float().contiguous()
    points = sorted(name for name in named if name.startswith(_POINTS))
    named["prompt_encoder.point_embed.weight"] = torch.cat([named.pop(name) for name in points])
    named["shared_image_embedding.positional_embedding"] = named[_POSITIONS]
    return named


def _config_of(named: Mapping[str, Tensor]) -> Sam2Config:
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
