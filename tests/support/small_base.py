"""What the tests and benchmarks need of a family: a small random base, and bases of the published sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

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


# SAM's published ViTs beyond the base, whose sizes transformers' configurations have by default.
LARGER_VITS: Mapping[str, Mapping[str, Any]] = {
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mlp_dim": 4096,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "huge": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "mlp_dim": 5120,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}
