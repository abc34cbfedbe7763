"""Attention as two products in bfloat16 on a CPU, where PyTorch's own kernel takes two to three times as long.

For models of transformers that choose their attention by name. The kernel computes in float32 whatever it is given; in
float32 it is the faster of the two.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from backend.sam.layers.pointwise import is_traced

_NAME = "samloop-products"
_SCORES_AT_ONCE = 1 << 20  # 2 MB: stays near a core; a quarter of it to twice as many takes as long


def use_products(encoder: PreTrainedModel) -> None:
    """Let an encoder of transformers attend by `attend`. Its weights and its saved config stay as they are."""
    AttentionInterface.register(_NAME, attend)
    encoder.set_attn_implementation(_NAME)


def attend(  # noqa: PLR0913 - transformers' signature
    module: nn.Module,
    query: Float[Tensor, "b heads n d"],
    key: Float[Tensor, "b heads m d"],
    value: Float[Tensor, "b heads m d"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **others: Any,  # noqa: ANN401 - whatever transformers hands on
) -> tuple[Float[Tensor, "b n heads d"], None]:
    """Attend as transformers' "sdpa" does, which answers what is not in bfloat16 on a CPU, or learns, or has a mask."""
    is_fast = query.device.type == "cpu" and query.dtype == torch.bfloat16
    is_plain = attention_mask is None and others.get("is_causal") is False and query.shape[1] == key.shape[1]
    if not (is_fast and is_plain) or torch.is_grad_enabled() or is_traced():
        answered: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return answered
    batch, heads, _, width = query.shape
    scale = width**-0.5 if scaling is None else scaling
    # A head's rows lie side by side, as the products take them.
    mixed = _mix(*(part.flatten(0, 1).contiguous() for part in (query * scale, key, value)))
    return mixed.view(batch, heads, -1, width).transpose(1, 2).contiguous(), None


def _mix(
    query: Float[Tensor, "k n d"], key: Float[Tensor, "k m d"], value: Float[Tensor, "k m d"]
) -> Float[Tensor, "k n d"]:
    """Mix the values of k heads, as many heads or queries at a time as may be, all in one place of the memory."""
    count, queries, keys = len(query), query.shape[1], key.shape[1]
    together = min(count, max(1, _SCORES_AT_ONCE // (queries * keys)))
    some = min(queries, max(1, _SCORES_AT_ONCE // (together * keys)))
    room, mixed = query.new_empty(together * some * keys), torch.empty_like(query)
    for head in range(0, count, together):
        these = slice(head, head + together)
        for first in range(0, queries, some):
            asking = query[these, first : first + some]
            scores = room[: len(asking) * asking.shape[1] * keys].view(len(asking), -1, keys)
            torch.bmm(asking, key[these].mT, out=scores)
            torch.softmax(scores, dim=-1, out=scores)
            mixed[these, first : first + some] = torch.bmm(scores, value[these])
    return mixed
