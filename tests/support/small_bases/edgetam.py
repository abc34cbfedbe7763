"""EdgeTAM with another convolutional encoder instead of timm's RepViT, which not every machine has."""

import torch
from support.small_base import NARROW_DECODER, SmallBase
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, EdgeTamConfig, EdgeTamModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from backend.sam.families.edgetam import edgetam_config

_PYRAMID = [4, 8, 16, 32]  # channels of the encoder's levels


class PyramidConfig(PreTrainedConfig):
    """The configuration of `PyramidModel`."""

    model_type = "pyramid_for_tests"


class PyramidModel(PreTrainedModel):
    """Convolutions that halve the sides, level by level."""

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


def build_edgetam() -> EdgeTamModel:
    """The model, with transformers' own small weights."""
    AutoConfig.register(PyramidConfig.model_type, PyramidConfig, exist_ok=True)
    AutoModel.register(PyramidConfig, PyramidModel, exist_ok=True)
    vision = {
        "backbone_config": {"model_type": PyramidConfig.model_type},
        "backbone_channel_list": _PYRAMID[::-1],
        "fpn_hidden_size": 32,
    }
    return EdgeTamModel(
        EdgeTamConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": 32},
            mask_decoder_config=dict(NARROW_DECODER),
        )
    )


# Its encoder is all convolutions, which take no adapter. The published size needs timm.
BASE = SmallBase(
    family="edgetam",
    build=build_edgetam,
    method="decoder",
    published={"edgetam": lambda: EdgeTamModel(edgetam_config())},
)
