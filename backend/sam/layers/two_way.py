"""SAM's two-way transformer in fewer multiplications, for tokens of many prompts and cells of one or many images.

The attention is between some 8 tokens and 4096 cells, and it is computed in the cheaper of two orders:
- **Factored**: `q . (W x)` equals `(q W) . x`, so the few tokens go through the weights of the cells' projections, and
  no tensor of the image's size is split into heads. The softmax cancels the bias of the keys; the shares of a row sum
  to one, so the bias of the values is added once.
- **Projected**, as transformers does: cheaper as soon as many tokens share the cells. In the first layer, all prompts
  of an image do, because the cells do not depend on a prompt without a mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamAttention, SamTwoWayAttentionBlock

from backend.sam.layers.pointwise import is_traced

# The first dimension is n, or 1 as long as all prompts share the values: until the end of the first layer.
Tokens = Float[Tensor, "_ t c"]
Cells = Float[Tensor, "_ cells c"]
ByHead = Float[Tensor, "n heads t e"]
Heads = Float[Tensor, "m heads e cells"]
# transformers has a class of its own for every family. For mypy it is SAM's; at run time any module will do.
if TYPE_CHECKING:
    Attention = SamAttention
    Block = SamTwoWayAttentionBlock
else:
    Attention = Block = nn.Module


@dataclass(frozen=True, slots=True)
class ImageCells:
    """The cells that the tokens attend to.

    Attributes:
        keys: with the mask prompts added.
        positions: their positional encoding.
    """

    keys: Cells
    positions: Cells


def two_way(
    transformer: nn.Module,
    tokens: Tokens,
    image: ImageCells,
    *,
    absent: Float[Tensor, "n 1 t 1"] | None = None,
    answering: int | None = None,
) -> tuple[Float[Tensor, "_ t2 c"], Cells]:
    """Run the decoder's two-way transformer (Kirillov et al. 2023, appendix A, figure 14) over any number of tokens.

    Args:
        transformer: of the decoder.
        tokens: the decoder's own tokens, then those of the prompts.
        image: of all prompts, or every prompt's own.
        absent: added to the scores of a token as a key: 0, or minus infinity for an absent token.
        answering: how many tokens to return, from the first on; None for all. The last attention skips the others.

    Returns:
        The tokens and the cells after the last layer, in the dtype of the decoder's weights.
    """
    parts: Any = transformer
    queries, keys, positions = tokens, image.keys, image.positions
    for layer in _layers(transformer):
        placed = queries if layer.skip_first_layer_pe else queries + tokens
        among = _among_tokens(layer.self_attn, placed, queries, absent=absent)
        queries = layer.layer_norm1(among if layer.skip_first_layer_pe else queries + among)
        cells = keys + positions
        seen = _tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, keys, placed=cells)
        queries = layer.layer_norm2(queries + seen)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        given = _image_to_tokens(
            layer.cross_attn_image_to_token,
            cells,
            queries + tokens,
            values=queries,
            absent=absent,
        )
        keys = layer.layer_norm4(_add_product(keys, *given))  # from here on, every prompt has cells of its own
    queries, tokens = queries[:, :answering], tokens[:, :answering]
    final = parts.final_attn_token_to_image
    seen = _tokens_to_image(final, queries + tokens, keys, placed=keys + positions)
    return parts.layer_norm_final_attn(queries + seen), keys


def _among_tokens(
    attention: Attention, placed: Tokens, values: Tokens, *, absent: Float[Tensor, "n 1 t 1"] | None
) -> Tokens:
    query, key, value = (
        _by_head(projected, attention)
        for projected in (attention.q_proj(placed), attention.k_proj(placed), attention.v_proj(values))
    )
    scores = query @ key.transpose(2, 3) * attention.scaling
    shares = torch.softmax(scores if absent is None else scores + absent.mT, dim=-1)
    mixed: Tokens = _out_projection(attention)((shares @ value).transpose(1, 2).flatten(2))
    return mixed


def _tokens_to_image(attention: Attention, queries: Tokens, keys: Cells, *, placed: Cells) -> Tokens:
    """Let tokens attend to the cells: to `keys`, found by `placed`, which is `keys` with positions."""
    heads = attention.num_attention_heads
    asking = _by_head(attention.q_proj(queries) * attention.scaling, attention)
    shares = torch.softmax(_score_cells(asking, attention.k_proj, placed, heads=heads), dim=-1)
    values = _mix_cells(shares, attention.v_proj, keys, heads=heads).transpose(1, 2).flatten(2) + attention.v_proj.bias
    mixed: Tokens = _out_projection(attention)(values)
    return mixed


def _image_to_tokens(
    attention: Attention,
    placed: Cells,
    keys: Tokens,
    *,
    values: Tokens,
    absent: Float[Tensor, "n 1 t 1"] | None,
) -> tuple[Float[Tensor, "n s rows"], Float[Tensor, "n rows c"]]:
    """Let cells attend to the tokens; return the shares and the tokens' values, whose product the cells take in."""
    heads = attention.num_attention_heads
    asked = _by_head(attention.k_proj(keys) * attention.scaling, attention)
    bias = asked @ attention.q_proj.bias.view(heads, -1, 1)
    bias = bias if absent is None else bias + absent
    # Over the tokens, which do not lie side by side in memory: so the softmax runs over many cells at once.
    shares = torch.softmax(_score_cells(asked, attention.q_proj, placed, heads=heads) + bias, dim=2)
    given = _by_head(attention.v_proj(values), attention)
    out = _out_projection(attention)
    mixed = given @ out.weight.reshape(len(out.weight), heads, -1).permute(1, 2, 0)
    # The shares of a head sum to one, so we add the bias to the few tokens instead of the many cells.
    return _merge(shares).transpose(1, 2), _merge(mixed + out.bias / heads)


def _score_cells(rows: ByHead, projection: nn.Linear, cells: Cells, *, heads: int) -> Float[Tensor, "n heads t s"]:
    """Return the products of every head's rows with the projected cells, without the projection's bias."""
    if (projected := _project_if_cheaper(rows, projection, cells)) is None:
        return _by_row(multiply_by_cells(_merge(rows @ _weight(projection, heads)), cells), heads)
    return _unfold(_fold(rows, len(projected)) @ projected, len(rows))


def _mix_cells(shares: Float[Tensor, "n heads t s"], projection: nn.Linear, cells: Cells, *, heads: int) -> ByHead:
    """Return the projected cells, mixed by every head's shares, without the projection's bias."""
    if (projected := _project_if_cheaper(shares, projection, cells)) is None:
        return _by_row(multiply_shared(_merge(shares), cells), heads) @ _weight(projection, heads).transpose(1, 2)
    return _unfold(_fold(shares, len(projected)) @ projected.mT, len(shares))


def _project_if_cheaper(rows: Float[Tensor, "n heads t _"], projection: nn.Linear, cells: Cells) -> Heads | None:
    """Return the projected cells, if that takes fewer multiplications than to take the rows through the weights.

    Factored, a cell is multiplied by every row that shares it. Projected, it is multiplied by the weights, and then its
    part for a head by every row of the head.
    """
    if is_traced():  # a graph serves any number of prompts
        return None
    (inside, width), heads = projection.weight.shape, rows.shape[1]
    sharing = heads * rows.shape[2] * len(rows) // len(cells)
    if sharing * width <= inside * width + sharing * inside // heads:
        return None
    return _project(projection, cells, heads=heads)


def _project(projection: nn.Linear, cells: Float[Tensor, "m s c"], *, heads: int) -> Heads:
    return (projection.weight @ cells.mT).view(len(cells), heads, -1, cells.shape[1])


def _fold(rows: Float[Tensor, "n heads t k"], count: int) -> Float[Tensor, "m heads kt k"]:
    """Put the rows that share cells one below the other: those of all prompts if count is 1."""
    return rows.view(count, -1, *rows.shape[1:]).transpose(1, 2).flatten(2, 3)


def _unfold(rows: Float[Tensor, "m heads kt k"], count: int) -> Float[Tensor, "n heads t k"]:
    """Undo `_fold` for `count` prompts."""
    images, heads, _, width = rows.shape
    return rows.view(images, heads, count // images, -1, width).transpose(1, 2).flatten(0, 1)


def _layers(transformer: nn.Module) -> Iterable[Block]:
    return cast("Iterable[Block]", transformer.layers)


def _out_projection(attention: Attention) -> nn.Linear:
    """The output projection, which families after SAM call `o_proj`."""
    return cast("nn.Linear", attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj)


def _by_head(tokens: Float[Tensor, "n t d"], attention: Attention) -> ByHead:
    return tokens.reshape(*tokens.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)


def _by_row(merged: Float[Tensor, "n rows c"], heads: int) -> Float[Tensor, "n heads t c"]:
    return merged.view(len(merged), heads, -1, merged.shape[-1])


def _merge(by_head: Float[Tensor, "n heads t c"]) -> Float[Tensor, "n heads*t c"]:
    return by_head.flatten(1, 2)


def _weight(projection: nn.Linear, heads: int) -> Float[Tensor, "heads e c"]:
    return projection.weight.reshape(heads, -1, projection.weight.shape[1])


def multiply_shared(rows: Float[Tensor, "n r k"], columns: Float[Tensor, "m k s"]) -> Float[Tensor, "n r s"]:
    """Return `rows @ columns`, without repeating columns that all prompts share (m = 1)."""
    return (rows.flatten(0, 1) @ columns[0]).view(*rows.shape[:2], -1) if len(columns) == 1 else rows @ columns


def multiply_by_cells(rows: Float[Tensor, "n r k"], cells: Float[Tensor, "m s k"]) -> Float[Tensor, "n r s"]:
    """Return `rows @ cells.mT`, as `multiply_shared` does. In a training, the cells' gradient has the cells' layout."""
    is_learnt = torch.is_grad_enabled() and cells.requires_grad and len(cells) == len(rows)
    # Under autocast the dtypes may differ, and only autocast's own products take both.
    if is_learnt and rows.dtype == cells.dtype and not torch.is_autocast_enabled(rows.device.type):
        product_with_cells: Tensor = _WithCells.apply(rows, cells)  # type: ignore[no-untyped-call]
        return product_with_cells
    return multiply_shared(rows, cells.transpose(1, 2))


def _add_product(
    cells: Cells, shares: Float[Tensor, "n s rows"], values: Float[Tensor, "n rows c"]
) -> Float[Tensor, "n s c"]:
    """Return `cells + shares @ values`, in one pass over the cells where PyTorch can."""
    # Under autocast the dtypes may differ; and ONNX has no such operation.
    if is_traced() or not cells.dtype == shares.dtype == values.dtype:
        return cells + shares @ values
    return torch.baddbmm(cells, shares, values)


class _WithCells(torch.autograd.Function):
    """Autograd's own gradient of `cells.mT` is channels-first, and every step back copies it: a fifth of a pass."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, cells: Tensor) -> Tensor:  # noqa: ANN401 - autograd's
        ctx.save_for_backward(rows, cells)
        return torch.bmm(rows, cells.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - autograd's
        rows, cells = ctx.saved_tensors
        return torch.bmm(gradient, cells), torch.bmm(gradient.mT, rows)
