"""The attention of transformers' SAM encoders, with its relative positions inside the product of queries and keys.

SAM's ViT adds `q . Rh[dy] + q . Rw[dx]` to every score (Li et al. 2022, "MViTv2", equation 4). transformers computes
this as a tensor of the scores' size. Here it is part of the dot product: we append to a query its products with the
positions of the rows and the columns, and to a key ones at its own row and column and zeros elsewhere.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation
from transformers.models.sam.modeling_sam import SamMLPBlock, SamVisionAttention, SamVisionEncoder
from transformers.models.sam_hq.modeling_sam_hq import SamHQMLPBlock, SamHQVisionAttention, SamHQVisionEncoder

from backend.sam.layers.pointwise import is_traced, linear

# transformers copies all of SAM's classes for a model that changes some of them.
_ATTENTIONS, _MLPS = (SamVisionAttention, SamHQVisionAttention), (SamMLPBlock, SamHQMLPBlock)
_SCORES_AT_ONCE = 1 << 23  # 16 MB in bfloat16: stays in a processor's last-level cache, and bounds the memory


class FusedAttention(nn.Module):
    """Replaces `SamVisionAttention` in inference, with the same weights, names and results."""

    def __init__(self, attention: SamVisionAttention | SamHQVisionAttention) -> None:
        super().__init__()
        self.qkv, self.proj = attention.qkv, attention.proj
        self.heads, self.scale = attention.num_attention_heads, attention.scale
        self.rel_pos_h, self.rel_pos_w = attention.rel_pos_h, attention.rel_pos_w
        height, width = ((len(table) + 1) // 2 for table in (self.rel_pos_h, self.rel_pos_w))
        # By the place of the query and of the key, laid out for the product. Computed once, because weights are fixed.
        for name, side, table in (("rows", height, self.rel_pos_h), ("columns", width, self.rel_pos_w)):
            apart = torch.arange(side)[:, None] - torch.arange(side)[None] + side - 1
            self.register_buffer(name, table.detach()[apart].mT.contiguous(), persistent=False)
        down = torch.eye(height).repeat_interleave(width, dim=0)
        self.register_buffer("places", torch.cat([down, torch.eye(width).repeat(height, 1)], dim=1), persistent=False)

    def forward(self, hidden_states: Float[Tensor, "b h w c"]) -> tuple[Float[Tensor, "b h w c"], None]:
        """Mix the tokens of every window, or of a whole image as one window. transformers expects a pair."""
        batch, height, width, channels = hidden_states.shape
        qkv = linear(self.qkv, hidden_states).view(batch, height, width, 3, self.heads, channels // self.heads)
        mix = self._one_by_one if hidden_states.device.type == "cpu" and not is_traced() else self._together
        return linear(self.proj, mix(qkv).view(batch, height, width, channels)), None

    def _extend(
        self, qkv: Float[Tensor, "b h w 3 heads d"]
    ) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads n e"], Float[Tensor, "b heads n d"]]:
        """Return queries and keys of e = d + h + w numbers, and values; n = h w."""
        query, key, value = (part.flatten(1, 2).transpose(1, 2) for part in qkv.unbind(3))
        rows, columns = cast("Tensor", self.rows), cast("Tensor", self.columns)
        asking = qkv[:, :, :, 0].permute(0, 3, 1, 2, 4)
        products = (asking @ rows, (asking.transpose(2, 3) @ columns).transpose(2, 3))
        long_query = torch.cat([query * self.scale, *(product.flatten(2, 3) for product in products)], dim=-1)
        places = cast("Tensor", self.places).expand(*key.shape[:2], -1, -1)
        return long_query, torch.cat([key, places], dim=-1), value

    def _together(self, qkv: Float[Tensor, "b h w 3 heads d"]) -> Float[Tensor, "b n c"]:
        return functional.scaled_dot_product_attention(*self._extend(qkv), scale=1.0).transpose(1, 2).flatten(2)

    def _one_by_one(self, qkv: Float[Tensor, "b h w 3 heads d"]) -> Float[Tensor, "b n c"]:
        """Mix one window after the other, and a bounded number of queries at a time."""
        # PyTorch's kernel for CPUs takes three times as long here, and all scores of 4096 tokens take 400 MB.
        out = []
        for window in torch.split(qkv, 1):
            query, key, value = (part[0].contiguous() for part in self._extend(window))
            some = max(1, _SCORES_AT_ONCE // (self.heads * key.shape[1]))
            mixed = [
                torch.bmm(torch.softmax(torch.bmm(q, key.mT), dim=-1), value) for q in torch.split(query, some, dim=1)
            ]
            out.append(torch.cat(mixed, dim=1).transpose(0, 1).flatten(1))
        return torch.stack(out)


class FusedMlp(nn.Module):
    """Replaces `SamMLPBlock`, with the same weights, names and results; the GELU is part of the first product."""

    def __init__(self, mlp: SamMLPBlock | SamHQMLPBlock) -> None:
        super().__init__()
        self.lin1, self.lin2 = mlp.lin1, mlp.lin2

    def forward(self, hidden_states: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
        """Mix the channels of every token."""
        return linear(self.lin2, linear(self.lin1, hidden_states, gelu=True))


def fuse_attention(encoder: SamVisionEncoder | SamHQVisionEncoder) -> None:
    """Put `FusedAttention` and `FusedMlp` into the layers of SAM's ViT, or of an encoder with copies of its classes.

    Its weights keep their names and values. Call this before changing the encoder's dtype.
    """
    for layer in encoder.layers:
        attention = getattr(layer, "attn", None)
        if isinstance(attention, _ATTENTIONS) and attention.use_rel_pos:
            layer.attn = FusedAttention(attention)
        mlp = getattr(layer, "mlp", None)
        if isinstance(mlp, _MLPS) and isinstance(mlp.act, GELUActivation):
            layer.mlp = FusedMlp(mlp)
