"""The attention of transformers' SAM encoders, without a tensor of the scores' size for its relative positions.

SAM's ViT adds `q . Rh[dy] + q . Rw[dx]` to every score (Li et al. 2022, "MViTv2", equation 4). transformers computes
this as a tensor of the scores' size. Here it is one of three:
- In a window it is part of the dot product: we append to a query its products with the positions of the rows and the
  columns, and to a key ones at its own row and column and zeros elsewhere.
- In a whole image on a CPU this would make the longest product three times as long. So the sum is written where the
  scores will be, and the product of queries and keys is added to it: a few hundred queries of a head at a time.
- A GPU has a kernel of its own for the same sums (attention_kernel), where Triton can build it.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamVisionConfig
from transformers.activations import GELUActivation
from transformers.models.sam.modeling_sam import SamMLPBlock, SamVisionAttention, SamVisionEncoder
from transformers.models.sam_hq.modeling_sam_hq import SamHQMLPBlock, SamHQVisionAttention, SamHQVisionEncoder

from backend.sam.layers.pointwise import is_traced, linear
from backend.sam.layers.windows import join_windows, split_windows

log = logging.getLogger(__name__)

Kernel = Callable[..., Tensor]  # attention_kernel.attend

# transformers copies all of SAM's classes for a model that changes some of them.
_MLPS = (SamMLPBlock, SamHQMLPBlock)
_MOST_ERROR = 0.02  # of bfloat16; that of the plain layers is as large
_SCORES_AT_ONCE = 1 << 23  # 16 MB in bfloat16: stays in a processor's last-level cache, and bounds the memory


class FusedAttention(nn.Module):
    """Replaces `SamVisionAttention` in inference, with the same weights, names and results."""

    def __init__(self, attention: SamVisionAttention | SamHQVisionAttention, *, window: int = 0) -> None:
        super().__init__()
        self.window = window  # side of the windows that it cuts a map into, in tokens; 0: it is given them one by one
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
        tables = torch.zeros(2, max(16, 1 << (2 * max(height, width) - 2).bit_length()), self.rel_pos_h.shape[1])
        for table, positions in zip(tables, (self.rel_pos_h, self.rel_pos_w), strict=True):
            table[: len(positions)] = positions.detach()
        self.register_buffer("positions", tables, persistent=False)

    def forward(self, hidden_states: Float[Tensor, "b h w c"]) -> tuple[Float[Tensor, "b h w c"], None]:
        """Mix the tokens of every window, or of a whole image as one window. transformers expects a pair."""
        kernel = self._find_kernel(hidden_states)
        return self._in_parts(hidden_states) if kernel is None else self._by(kernel, hidden_states), None

    def _by(self, kernel: Kernel, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        qkv, bias = linear(self.qkv, x).contiguous(), cast("Tensor | None", self.qkv.bias)
        mixed = kernel(
            qkv,
            qkv.new_zeros(qkv.shape[-1]) if bias is None else bias,
            cast("Tensor", self.positions),
            heads=self.heads,
            side=self.window or qkv.shape[1],
            scale=self.scale,
        )
        return linear(self.proj, mixed)

    def _in_parts(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        if not self.window:
            return self._mix(x)
        height, width, channels = map(int, x.shape[1:])  # in a trace they would be tensors
        windows = split_windows(x, self.window).view(-1, self.window, self.window, channels)
        return join_windows(self._mix(windows).flatten(1, 2), self.window, height=height, width=width)

    def _mix(self, windows: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        batch, height, width, channels = windows.shape
        qkv = linear(self.qkv, windows).view(batch, height, width, 3, self.heads, channels // self.heads)
        if windows.device.type != "cpu" or is_traced():
            mix = self._together
        elif self.heads * (height * width) ** 2 <= _SCORES_AT_ONCE or torch.is_grad_enabled():
            mix = self._one_by_one
        else:
            mix = self._head_by_head
        return linear(self.proj, mix(qkv).view(batch, height, width, channels))

    def _find_kernel(self, x: Tensor) -> Kernel | None:
        """The kernel, where it computes what this layer does: on a GPU, without a gradient, of plain weights."""
        rows, columns = len(self.rel_pos_h), len(self.rel_pos_w)
        is_plain = type(self.qkv) is nn.Linear and rows == columns
        side = self.window or x.shape[1]
        fits = x.is_cuda and 2 * side - 1 == rows and (self.window or x.shape[1] == x.shape[2])
        if not (is_plain and fits) or torch.is_grad_enabled() or is_traced():
            return None
        return build_kernel(x.device, self.qkv.weight.dtype, side, x.shape[-1] // self.heads)

    def _extend(
        self, qkv: Float[Tensor, "b h w 3 heads d"]
    ) -> tuple[Float[Tensor, "b heads n e"], Float[Tensor, "b heads n e"], Float[Tensor, "b heads n d"]]:
        """Return queries and keys of e = d + h + w numbers, and values; n = h w."""
        query, key, value = self._separate(qkv)
        places = cast("Tensor", self.places).expand(*key.shape[:2], -1, -1)
        return torch.cat([query, *self._score_places(qkv)], dim=-1), torch.cat([key, places], dim=-1), value

    def _separate(self, qkv: Float[Tensor, "b h w 3 heads d"]) -> list[Float[Tensor, "b heads n d"]]:
        """Return queries, which are scaled, keys and values; n = h w."""
        query, key, value = (part.flatten(1, 2).transpose(1, 2) for part in qkv.unbind(3))
        return [query * self.scale, key, value]

    def _score_places(
        self, qkv: Float[Tensor, "b h w 3 heads d"]
    ) -> tuple[Float[Tensor, "b heads n h"], Float[Tensor, "b heads n w"]]:
        """Return what every row, and every column, of keys adds to a query's scores; n = h w."""
        rows, columns = cast("Tensor", self.rows), cast("Tensor", self.columns)
        asking = qkv[:, :, :, 0].permute(0, 3, 1, 2, 4)
        by_row, by_column = asking @ rows, (asking.transpose(2, 3) @ columns).transpose(2, 3)
        return by_row.flatten(2, 3), by_column.flatten(2, 3)

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

    def _head_by_head(self, qkv: Float[Tensor, "b h w 3 heads d"]) -> Float[Tensor, "b n c"]:
        """Mix one head after the other, and a bounded number of queries at a time, all in one place of the memory."""
        # A head's rows lie side by side, as the products take them.
        query, key, value = (part.flatten(0, 1).contiguous() for part in self._separate(qkv))
        by_row, by_column = (scored.flatten(0, 1) for scored in self._score_places(qkv))
        mixed, tokens = torch.empty_like(query), query.shape[1]
        some = min(tokens, max(1, _SCORES_AT_ONCE // 4 // tokens))  # half of it to twice as many takes as long
        room = query.new_empty(some, by_row.shape[2], by_column.shape[2])
        for head in range(len(query)):
            for first in range(0, tokens, some):
                at = slice(first, first + some)
                asking = query[head, at]
                placed = torch.add(by_row[head, at, :, None], by_column[head, at, None], out=room[: len(asking)])
                scores = placed.view(len(asking), tokens).addmm_(asking, key[head].mT)
                torch.mm(torch.softmax(scores, dim=-1, out=scores), value[head], out=mixed[head, at])
        return mixed.view(len(qkv), self.heads, tokens, -1).transpose(1, 2).flatten(2)


@cache
def build_kernel(device: torch.device, dtype: torch.dtype, side: int, width: int) -> Kernel | None:
    """Build the kernel for a GPU.

    Args:
        device: the GPU.
        dtype: of queries, keys and values.
        side: of a window, in tokens.
        width: the numbers of a head.

    Returns:
        None where it cannot be built, or computes something else than the plain layers.
    """
    if dtype not in (torch.float16, torch.bfloat16):
        return None
    try:
        from backend.sam.layers.attention_kernel import attend

        _compare(attend, device=device, dtype=dtype, side=side, width=width)
    except Exception as fault:  # noqa: BLE001 - it runs a compiler, which may be missing or fail in any way
        log.warning("attention on %s runs without its kernel, at half the speed: %s", device, str(fault)[:300])
        return None
    return attend


def _compare(kernel: Kernel, *, device: torch.device, dtype: torch.dtype, side: int, width: int) -> None:
    """Compare a kernel with the plain layers, in windows over the edge.

    Raises:
        ValueError: it computes something else.
    """
    config = SamVisionConfig(hidden_size=width, num_attention_heads=1)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(0)
        plain = SamVisionAttention(config, side)  # type: ignore[no-untyped-call]
        for weight in (plain.rel_pos_h, plain.rel_pos_w, plain.qkv.bias):
            weight.normal_(std=0.3)
        layer = FusedAttention(plain, window=side).to(device, dtype)
        tokens = torch.randn(2, side + 3, side + side // 2, width, device=device, dtype=dtype)
        expected, made = layer._in_parts(tokens).float(), layer._by(kernel, tokens).float()  # noqa: SLF001
    error = float((made - expected).norm() / expected.norm())
    if not error < _MOST_ERROR:
        raise ValueError(f"it is {error:.3f} off, relative to the result, in windows of {side} by {side} tokens")


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
        if isinstance(attention, SamVisionAttention) and attention.use_rel_pos:
            # transformers cuts windows itself, unless they have no size.
            layer.attn = FusedAttention(attention, window=cast("int", layer.window_size))
            layer.window_size = cast("Any", 0)
        elif isinstance(attention, SamHQVisionAttention) and attention.use_rel_pos:
            layer.attn = FusedAttention(attention)  # SAM-HQ asks for the sizes of windows
        mlp = getattr(layer, "mlp", None)
        if isinstance(mlp, _MLPS) and isinstance(mlp.act, GELUActivation):
            layer.mlp = FusedMlp(mlp)
