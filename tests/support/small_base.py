"""What the tests and benchmarks need of a family: a small random base, and bases of the published sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, SamConfig

NARROW_DECODER: Mapping[str, Any] = {
    "hidden_size": 32,
    "mlp_dim": 32,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallBase:
    """A module of `support.small_bases` has one as the constant `BASE`.

    Attributes:
        family: the family's name.
        build: makes a narrow model with few blocks, but with the real frame.
        noise: what `make_lively` adds, so that masks differ between images.
        method: the training method with which the whole loop is walked through.
        published: by the name of a base, what makes a model of its published size.
    """

    family: str
    build: Callable[[], PreTrainedModel]
    noise: float = 0.2
    method: str = "lora"
    published: Mapping[str, Callable[[], PreTrainedModel]] = field(default_factory=dict)


# transformers draws a ViT's weights at 1e-10. Products of what follows are denormal numbers, with which Intel's
# processors take twenty times as long.
_RANDOM = {"initializer_range": 0.02}
# SAM's published ViTs with random weights. The base has the sizes that transformers' configurations have by default.
VITS: Mapping[str, Mapping[str, Any]] = {
    "base": _RANDOM,
    "large": {
        **_RANDOM,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mlp_dim": 4096,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "huge": {
        **_RANDOM,
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "mlp_dim": 5120,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}


def small_sam_config(*, canvas_px: int = 1024, global_blocks: Sequence[int] = ()) -> SamConfig:
    """SAM with two narrow encoder layers, 16 px a patch; `global_blocks` attend to the whole image."""
    return SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "mlp_dim": 32,
            "image_size": canvas_px,
            "global_attn_indexes": list(global_blocks),
            "window_size": 8,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "mask_input_channels": 16, "image_size": canvas_px},
        mask_decoder_config={**NARROW_DECODER, "num_hidden_layers": 1, "layer_norm_eps": 1e-5},
    )
