"""SAM 2.1 of five blocks."""

from support.original_names import empty_state
from support.small_base import NARROW_DECODER, SmallBase
from transformers import Sam2Config, Sam2Model

from backend.sam.families.sam2_names import sam2_config, sam2_names


def build_sam2() -> Sam2Model:
    """The model, with transformers' own small weights."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 1, 2],
        "global_attention_blocks": [3],
        "mlp_ratio": 2.0,
    }
    vision = {"backbone_config": backbone, "backbone_channel_list": [32, 24, 16, 8], "fpn_hidden_size": 32}
    return Sam2Model(
        Sam2Config(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": 32},
            mask_decoder_config=dict(NARROW_DECODER),
        )
    )


def _build_published(checkpoint: str) -> Sam2Model:
    """Of the size that the names and shapes of Meta's checkpoint tell."""
    return Sam2Model(sam2_config(sam2_names(empty_state(checkpoint))))


BASE = SmallBase(
    family="sam2",
    build=build_sam2,
    published={
        "sam2.1-tiny": lambda: Sam2Model(Sam2Config()),
        "sam2.1-small": lambda: _build_published("sam2.1_hiera_s"),
        "sam2.1-base-plus": lambda: _build_published("sam2.1_hiera_b_plus"),
        "sam2.1-large": lambda: _build_published("sam2.1_hiera_l"),
    },
)
