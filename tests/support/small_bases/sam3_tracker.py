"""SAM 3's tracker of two blocks."""

from support.small_base import NARROW_DECODER, SmallBase
from transformers import AutoModel, Sam3TrackerConfig, Sam3TrackerModel
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel, Sam3ViTModel


def build_sam3_tracker(*, levels: int = 3) -> Sam3TrackerModel:
    """The model, with transformers' own small weights; Meta's has a fourth level, which the decoder does not read."""
    _register()
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "global_attn_indexes": [1],
    }
    vision = {
        "backbone_config": backbone,
        "fpn_hidden_size": 32,
        "scale_factors": [4.0, 2.0, 1.0, 0.5][:levels],
    }
    return Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": 32},
            mask_decoder_config=dict(NARROW_DECODER),
        )
    )


def _build_published() -> Sam3TrackerModel:
    """With the three levels that the decoder reads: transformers misplaces an embedding where there are four."""
    _register()
    return Sam3TrackerModel(Sam3TrackerConfig(vision_config={"scale_factors": [4.0, 2.0, 1.0]}))


def _register() -> None:
    AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
    AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)


BASE = SmallBase(
    family="sam3-tracker",
    build=build_sam3_tracker,
    method="conv-lora",
    published={"sam3-tracker": _build_published},
)
