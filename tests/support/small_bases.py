"""Random bases of several families as `save_pretrained` folders: narrow, with few blocks, but with the real frames."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    EdgeTamConfig,
    EdgeTamModel,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2Config,
    Sam2Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamModel,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.sam3.configuration_sam3 import Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel, Sam3ViTModel

_DECODER: dict[str, Any] = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
SURE = 100.0  # beyond all that noise makes of an object score
_PYRAMID = [4, 8, 16, 32]  # channels of a convolutional encoder's levels


def make_lively(model: nn.Module, *, by: float, sure: float = SURE) -> None:
    """Add noise to all weights: transformers' own are so small that a model gives every image the same masks.

    A decoder with object scores has `sure` added to them, so that it sees an object at every prompt.
    """
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn(weight.shape))
    set_object_scores(model, shift=sure)


def set_object_scores(model: nn.Module, *, shift: float) -> None:
    """Add a number to all object scores of a model, or of its decoder, where it has such scores."""
    for name, module in model.named_modules():
        if name.endswith("pred_obj_score_head"):
            anything: Any = module
            with torch.no_grad():
                anything.proj_out.bias.add_(shift)


class PyramidConfig(PreTrainedConfig):
    """The configuration of `PyramidModel`."""

    model_type = "pyramid_for_tests"


class PyramidModel(PreTrainedModel):
    """Replaces timm's RepViT, which not every machine has: convolutions that halve the sides, level by level."""

    config_class = PyramidConfig

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        widths = [3, *_PYRAMID]
        self.levels = nn.ModuleList(
            nn.Conv2d(inward, outward, 4 if number == 0 else 2, stride=4 if number == 0 else 2)
            for number, (inward, outward) in enumerate(zip(widths, _PYRAMID, strict=False))
        )
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutput:
        """All levels, the finest first, as timm's models give their features."""
        levels, values = [], pixel_values
        for convolution in self.levels:
            values = torch.tanh(convolution(values))
            levels.append(values)
        return BaseModelOutput(last_hidden_state=levels)


def sam2() -> Sam2Model:
    """SAM 2.1 of five blocks."""
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
        Sam2Config(vision_config=vision, prompt_encoder_config={"hidden_size": 32}, mask_decoder_config=_DECODER)
    )


def sam_hq() -> SamHQModel:
    """SAM-HQ of three blocks, whose decoder has eight heads as the published ones have."""
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


def edgetam() -> EdgeTamModel:
    """EdgeTAM with another convolutional encoder instead of timm's."""
    AutoConfig.register(PyramidConfig.model_type, PyramidConfig, exist_ok=True)
    AutoModel.register(PyramidConfig, PyramidModel, exist_ok=True)
    vision = {
        "backbone_config": {"model_type": PyramidConfig.model_type},
        "backbone_channel_list": _PYRAMID[::-1],
        "fpn_hidden_size": 32,
    }
    return EdgeTamModel(
        EdgeTamConfig(vision_config=vision, prompt_encoder_config={"hidden_size": 32}, mask_decoder_config=_DECODER)
    )


def sam3_tracker(*, levels: int = 3) -> Sam3TrackerModel:
    """SAM 3's tracker of two blocks; Meta's has a fourth level, which the decoder does not read."""
    AutoModel.register(Sam3ViTConfig, Sam3ViTModel, exist_ok=True)
    AutoModel.register(Sam3VisionConfig, Sam3VisionModel, exist_ok=True)
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
        Sam3TrackerConfig(vision_config=vision, prompt_encoder_config={"hidden_size": 32}, mask_decoder_config=_DECODER)
    )


# By family: the model, and the noise that makes its masks differ between images.
SMALL_BASES = {
    "sam2": (sam2, 0.2),
    "sam-hq": (sam_hq, 0.2),
    "edgetam": (edgetam, 0.2),
    "sam3-tracker": (sam3_tracker, 0.2),
}


def write_small_base(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write the family's random base, in evaluation mode, and return the folder."""
    build, noise = SMALL_BASES[family]
    torch.manual_seed(seed)
    model: Any = build()
    make_lively(model.eval(), by=noise)
    model.save_pretrained(folder)
    return folder


def save_small_sam(folder: Path) -> Path:
    """Save a random SamModel in the folder and return that: image 1024, embedding 64x64, 2 narrow encoder layers."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "mlp_dim": 32,
            "global_attn_indexes": [],
            "window_size": 8,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "mask_input_channels": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
            "layer_norm_eps": 1e-5,
        },
    )
    SamModel(config).eval().save_pretrained(folder)
    return folder
