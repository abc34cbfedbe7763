"""SAM-HQ of three blocks, whose decoder has eight heads as the published ones have."""

from collections.abc import Mapping
from typing import Any

from support.small_base import VITS, SmallBase
from transformers import SamHQConfig, SamHQModel


def build_sam_hq() -> SamHQModel:
    """The model, with transformers' own small weights."""
    return SamHQModel(
        SamHQConfig(
            vision_config={
                "hidden_size": 16,
                "output_channels": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "mlp_dim": 24,
                "global_attn_indexes": [1, 2],
                "window_size": 7,
                "num_pos_feats": 16,
            },
            prompt_encoder_config={"hidden_size": 32, "mask_input_channels": 8},
            mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 24, "vit_dim": 16},
        )
    )


def _build_published(vit: Mapping[str, Any]) -> SamHQModel:
    width = {"vit_dim": vit["hidden_size"]} if "hidden_size" in vit else {}
    return SamHQModel(SamHQConfig(vision_config=dict(vit), mask_decoder_config=width))


BASE = SmallBase(
    family="sam-hq",
    build=build_sam_hq,
    published={
        "sam-hq-base": lambda: _build_published(VITS["base"]),
        "sam-hq-large": lambda: _build_published(VITS["large"]),
        "sam-hq-huge": lambda: _build_published(VITS["huge"]),
    },
)
