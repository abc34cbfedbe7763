"""Attention with relative positions in windows as one kernel for GPUs, in Triton, which PyTorch for CUDA brings.

Nothing of the scores' size is written to memory (Dao et al. 2022, "FlashAttention"), and no map is cut into windows:
the kernel finds a window's tokens where they lie. A key of padding is the constant that the projection makes of zeros.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

_LOG2_E = 1.4426950408889634
_QUERIES = 64  # of a block; the keys of a block are those of one row of a window


def attend(
    qkv: Float[Tensor, "b h w c3"],
    padding: Float[Tensor, " c3"],
    positions: Float[Tensor, "2 t d"],
    *,
    heads: int,
    side: int,
    scale: float,
) -> Float[Tensor, "b h w c"]:
    """Mix the tokens of every window: `softmax(scale q . k + q . Rh[dy] + q . Rw[dx]) v`.

    Args:
        qkv: float16 or bfloat16, contiguous: queries, then keys, then values, each head by head.
        padding: what qkv is where a window reaches beyond the map.
        positions: Rh, then Rw, by query minus key plus `side - 1`, filled up with zeros to a power of two.
        heads: that share the numbers of a token.
        side: of a window, in tokens.
        scale: of the products of queries and keys.

    Returns:
        The mixed values of the tokens of the map, in the dtype of qkv.
    """
    batch, height, width, channels = qkv.shape
    dim, tokens = channels // (3 * heads), batch * height * width
    wide, most = triton.next_power_of_2(dim), positions.shape[1]
    products = torch.empty(tokens, heads, 2, most, dtype=qkv.dtype, device=qkv.device)
    out = torch.empty(batch, height, width, channels // 3, dtype=qkv.dtype, device=qkv.device)
    with torch.cuda.device(qkv.device) if qkv.is_cuda else torch.no_grad():
        _positions[triton.cdiv(tokens, _QUERIES), heads](
            qkv, positions, products, tokens, heads, _LOG2_E, DIM=dim, WIDE=wide, MOST=most, QUERIES=_QUERIES
        )
        down, across = triton.cdiv(height, side), triton.cdiv(width, side)
        _attend[triton.cdiv(side * side, _QUERIES), down * across, batch * heads](
            qkv,
            padding,
            products,
            out,
            height,
            width,
            across,
            heads,
            scale * _LOG2_E,
            SIDE=side,
            COLUMNS=max(16, triton.next_power_of_2(side)),
            DIM=dim,
            WIDE=wide,
            MOST=most,
            QUERIES=_QUERIES,
            num_warps=4,
            num_stages=3,
        )
    return out


@triton.jit
@no_type_check
def _positions(
    qkv,
    positions,
    products,
    tokens,
    heads,
    scale,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
    MOST: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """The products of queries with the positions of rows and of columns, times `scale`."""
    head = tl.program_id(1)
    token = (tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)).to(tl.int64)
    there, d, at = token < tokens, tl.arange(0, WIDE), tl.arange(0, MOST)
    place = token[:, None] * (3 * heads * DIM) + head * DIM + d[None, :]
    query = tl.load(qkv + place, mask=there[:, None] & (d[None, :] < DIM), other=0.0)
    for axis in tl.static_range(2):
        table = tl.load(positions + (axis * MOST + at[None, :]) * DIM + d[:, None], mask=d[:, None] < DIM, other=0.0)
        made = (tl.dot(query, table) * scale).to(products.dtype.element_ty)
        where = (token[:, None] * heads + head) * (2 * MOST) + axis * MOST + at[None, :]
        tl.store(products + where, made, mask=there[:, None])


@triton.jit
@no_type_check
def _attend(
    qkv,
    padding,
    products,
    out,
    height,
    width,
    across,
    heads,
    scale,
    SIDE: tl.constexpr,
    COLUMNS: tl.constexpr,
    DIM: tl.constexpr,
    WIDE: tl.constexpr,
    MOST: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """One block of queries of one window and head: the softmax runs over the rows of the window's keys."""
    image, head = tl.program_id(2) // heads, tl.program_id(2) % heads
    top, left = tl.program_id(1) // across * SIDE, tl.program_id(1) % across * SIDE
    own, d, column = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES), tl.arange(0, WIDE), tl.arange(0, COLUMNS)
    row_of, column_of = own // SIDE, own % SIDE
    there = (own < SIDE * SIDE) & (top + row_of < height) & (left + column_of < width)
    first = image.to(tl.int64) * height * width
    token = first + (top + row_of) * width + left + column_of
    across_token = 3 * heads * DIM
    query = tl.load(
        qkv + token[:, None] * across_token + head * DIM + d[None, :],
        mask=there[:, None] & (d[None, :] < DIM),
        other=0.0,
    )
    query = (query * scale).to(query.dtype)
    seen = products + (token * heads + head) * (2 * MOST)
    # Row by row of keys the product with the columns' positions is the same: it is read once.
    sideways = tl.load(
        seen[:, None] + MOST + column_of[:, None] - column[None, :] + SIDE - 1,
        mask=there[:, None] & (column[None, :] < SIDE),
        other=0.0,
    ).to(tl.float32)
    sideways = tl.where(column[None, :] < SIDE, sideways, -float("inf"))
    empty_key = tl.load(padding + (heads + head) * DIM + d, mask=d < DIM, other=0.0)
    empty_value = tl.load(padding + (2 * heads + head) * DIM + d, mask=d < DIM, other=0.0)
    columns = tl.minimum(width - left, SIDE)  # of the window that lie on the map
    # All keys of padding are alike: their score is computed once, and their shares are added up for the end. With them
    # among the keys, an H100 computed NaN (Triton 3.6): operands of a product must come from memory as they are.
    empty_score = tl.sum(query.to(tl.float32) * empty_key.to(tl.float32)[None, :], 1)
    empty = tl.zeros([QUERIES], tl.float32)
    most = tl.full([QUERIES], -1.0e30, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, WIDE], tl.float32)
    for row in range(SIDE):
        inside = column < tl.where(top + row < height, columns, 0)
        key_at = (first + (top + row) * width + left + column) * across_token + (heads + head) * DIM
        key = tl.load(qkv + key_at[None, :] + d[:, None], mask=inside[None, :] & (d[:, None] < DIM), other=0.0)
        downwards = tl.load(seen + row_of - row + SIDE - 1, mask=there, other=0.0).to(tl.float32)
        scores = tl.where(inside[None, :], tl.dot(query, key), empty_score[:, None]) + sideways + downwards[:, None]
        above = tl.maximum(most, tl.max(scores, 1))
        share, shrunk = tl.math.exp2(scores - above[:, None]), tl.math.exp2(most - above)
        total, most = total * shrunk + tl.sum(share, 1), above
        empty = empty * shrunk + tl.sum(tl.where(inside[None, :], 0.0, share), 1)
        value_at = key_at[:, None] + heads * DIM + d[None, :]
        value = tl.load(qkv + value_at, mask=inside[:, None] & (d[None, :] < DIM), other=0.0)
        mixed = tl.dot(share.to(value.dtype), value, mixed * shrunk[:, None])
    place = token[:, None] * (heads * DIM) + head * DIM + d[None, :]
    mixed += empty[:, None] * empty_value.to(tl.float32)[None, :]
    mixed = (mixed / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + place, mixed, mask=there[:, None] & (d[None, :] < DIM))
