"""SAM's mask decoder for many prompts of one image, in a cheaper order of operations. Serves and trains.

Computes the same as `transformers.SamMaskDecoder.forward` (equal to 1e-5, tested), but gives all four masks at once
instead of one or three. What makes it cheaper:
- transformers repeats the image's cells for every prompt before the first layer. Here prompts share the cells until
  they differ.
- In the attention between 8 tokens and 4096 cells, the cells are never projected. `q . (W x)` equals `(q W) . x`, so
  the few tokens go through the weights of the cells' projections. That halves the work, and no tensor of the image's
  size is split into heads. The softmax cancels the bias of the keys; the shares of a row sum to one, so the bias of the
  values is added once.
- A transposed convolution whose stride equals its kernel is one linear map of every token. Only the finished masks are
  moved to channels-first.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam.modeling_sam import SamAttention, SamTwoWayAttentionBlock

from backend.sam.family import DecoderInputs, MaskDecoder
from backend.sam.layers.pointwise import is_traced, product

# The first dimension is n, or 1 as long as all prompts share the values: until the end of the first layer.
Tokens = Float[Tensor, "_ t c"]
Cells = Float[Tensor, "_ cells c"]
# As `family.MaskDecoder`: every family has a class of its own.
if TYPE_CHECKING:
    Attention = SamAttention
else:
    Attention = nn.Module


def decode_all(decoder: MaskDecoder, inputs: DecoderInputs) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
    """Decode n prompts for m images to four masks for every prompt.

    Kirillov et al., "Segment Anything" (2023), appendix A, "Lightweight mask decoder" and "Making the model
    ambiguity-aware".

    Args:
        decoder: computes in the dtype of its weights.
        inputs: the prompts and the images' maps. The first map, of s rows and columns, is decoded.

    Returns:
        Logits in the frame of the grid (g = 4 s), above 0 on the object; and predicted IoUs, which may be below 0 or
        above 1. Of the four, the first is the single mask; the others are the small, the middle and the large reading
        of an ambiguous prompt. IoUs have the dtype of the decoder's weights. Logits have it on a GPU, and are float32
        on a CPU.
    """
    queries, keys = attend(decoder, inputs)
    return draw_masks(decoder, inputs, queries=queries, keys=keys)


def draw_masks(
    decoder: MaskDecoder,
    inputs: DecoderInputs,
    *,
    queries: Tokens,
    keys: Cells,
    skips: Sequence[Float[Tensor, "m _ _ _"]] = (),
) -> tuple[Float[Tensor, "n 4 g g"], Float[Tensor, "n 4"]]:
    """Read masks and IoUs from the tokens and the cells of `attend`: the second half of `decode_all`.

    Args:
        decoder: as for `decode_all`.
        inputs: as for `decode_all`.
        queries: the token for the IoUs, the four for the masks, and any tokens after these.
        keys: the image's cells.
        skips: finer maps of the images, first of 2 s rows, then of 4 s rows; empty for a family without skips.

    Returns:
        As `decode_all` does.
    """
    hyper = mask_weights(decoder, queries[:, 1:])
    skips = skips if inputs.image_of is None else [maps[inputs.image_of] for maps in skips]
    logits = upscale(decoder, keys, hyper, side=int(inputs.maps[0].shape[-1]), skips=skips)
    return logits, decoder.iou_prediction_head(queries[:, 0])


def attend(
    decoder: MaskDecoder, inputs: DecoderInputs, *, leading: Sequence[Float[Tensor, "_ c"]] = ()
) -> tuple[Tokens, Cells]:
    """Pass n prompts through the decoder's transformer: the first half of `decode_all`.

    Args:
        decoder: as for `decode_all`.
        inputs: as for `decode_all`.
        leading: the decoder's tokens that precede the tokens for the IoUs and the masks.

    Returns:
        The tokens of every prompt (first `leading`, then one for the IoUs, four for the masks, and the prompt's own),
        and the image's cells, both in the dtype of the decoder's weights.
    """
    dtype = decoder.iou_token.weight.dtype
    positions, sparse = inputs.positions.to(dtype), inputs.sparse.to(dtype)
    output = torch.cat([*leading, decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    cells = cells_of(inputs.maps[0], dtype)
    cells = (cells if inputs.image_of is None else cells[inputs.image_of]) + cells_of(inputs.dense, dtype)
    return two_way(decoder, tokens, cells, positions, absent=_unheard(inputs.absent, output))


def mask_weights(decoder: MaskDecoder, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n 4 k"]:
    """Turn the tokens of the four masks into the weights that `upscale` takes, by the MLP of every mask.

    Kirillov et al. (2023), appendix A, "Lightweight mask decoder".

    Args:
        decoder: has the MLPs.
        tokens: the first four are those of the masks.

    Returns:
        k weights for every mask, in the dtype of the decoder's weights.
    """
    return torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)


def cells_of(maps: Float[Tensor, "d c *s"], dtype: torch.dtype) -> Cells:
    """Copy d maps to lists of cells, row by row, with the channels of a cell side by side in memory.

    We copy once, here. Otherwise every sum of the image's size would stay channels-first, and every product would copy
    it.

    Args:
        maps: d maps of c channels, with any number of spatial dimensions.
        dtype: of the copy.

    Returns:
        (d, cells, c), a copy on the maps' device.
    """
    cells = maps.flatten(2).transpose(1, 2)
    if is_traced():  # ONNX has no copy into memory that is there
        return cells.to(dtype)
    return torch.empty(cells.shape, dtype=dtype, device=cells.device).copy_(cells)


def two_way(
    decoder: MaskDecoder,
    tokens: Tokens,
    keys: Cells,
    positions: Cells,
    *,
    absent: Float[Tensor, "n 1 t 1"] | None = None,
) -> tuple[Tokens, Cells]:
    """Run the decoder's two-way transformer (appendix A, figure 14) over any number of tokens.

    Args:
        decoder: has the transformer.
        tokens: the decoder's own tokens, then those of the prompts.
        keys: the image's cells, with the mask prompts added.
        positions: the cells' positional encoding.
        absent: added to the scores of a token as a key: 0, or minus infinity for an absent token.

    Returns:
        The tokens and the cells after the last layer, in the dtype of the decoder's weights.
    """
    transformer, queries = decoder.transformer, tokens
    for layer in cast("Iterable[SamTwoWayAttentionBlock]", transformer.layers):
        placed = queries if layer.skip_first_layer_pe else queries + tokens
        seen = _among_tokens(layer.self_attn, placed, queries, absent=absent)
        queries = layer.layer_norm1(seen if layer.skip_first_layer_pe else queries + seen)
        cells = keys + positions
        seen = _tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, keys, placed=cells)
        queries = layer.layer_norm2(queries + seen)
        queries = layer.layer_norm3(queries + layer.mlp(queries))
        attention = layer.cross_attn_image_to_token
        seen = _image_to_tokens(attention, cells, queries + tokens, values=queries, absent=absent)
        keys = layer.layer_norm4(keys + seen)
    final = transformer.final_attn_token_to_image
    seen = _tokens_to_image(final, queries + tokens, keys, placed=keys + positions)
    return transformer.layer_norm_final_attn(queries + seen), keys


def upscale(
    decoder: MaskDecoder,
    keys: Cells,
    hyper: Float[Tensor, "m masks k"],
    *,
    side: int,
    skips: Sequence[Float[Tensor, "_ _ _ _"]] = (),
) -> Float[Tensor, "m masks g g"]:
    """Enlarge the cells fourfold in rows and columns, and multiply them by the weights of the masks.

    Kirillov et al. (2023), appendix A, "Lightweight mask decoder": two transposed convolutions, then a product with the
    output of every mask token's MLP.

    Args:
        decoder: has the convolutions.
        keys: the cells from `two_way`, `side` rows and columns.
        hyper: k weights for every mask, from `mask_weights`.
        side: of the embedding, in cells.
        skips: a map for every convolution, added to its output before the activation; one for all prompts, or one a
            prompt.

    Returns:
        Logits in the frame of the grid (g = 4 side), above 0 on the object; float32 on a CPU, else in the dtype of the
        weights.
    """
    norm = decoder.upscale_layer_norm
    coarse, fine = [_by_cell(maps, side=side).to(keys.dtype) for maps in skips] or (None, None)
    wide = _upscale(decoder.upscale_conv1, keys)
    wide = wide if coarse is None else wide + coarse
    wide = functional.gelu(functional.layer_norm(wide, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    if fine is None:
        wide = _upscale(decoder.upscale_conv2, wide, gelu=True)
    else:
        wide = functional.gelu(_upscale(decoder.upscale_conv2, wide) + fine)
    # n, mask, row, column, and for both convolutions the row and column within the 2x2 outputs of a token
    flat = _with_cells(hyper, wide.flatten(1, -2)).view(len(wide), -1, side, side, 2, 2, 2, 2)
    if flat.device.type != "cpu" or is_traced():
        return flat.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)
    # Two neighbours in a row stay neighbours. Moved as one complex number, they take a tenth of the time.
    pairs = torch.view_as_complex(flat.float()).permute(0, 1, 2, 4, 6, 3, 5)
    return torch.view_as_real(pairs.contiguous()).flatten(5, 7).flatten(2, 4)


def _unheard(absent: Bool[Tensor, "n k"] | None, output: Float[Tensor, "t c"]) -> Float[Tensor, "n 1 tk 1"] | None:
    """Minus infinity for absent tokens of the prompts, else 0; the decoder's own tokens, in front, are never absent."""
    if absent is None or not bool(absent.any()):
        return None
    scores = torch.zeros(len(absent), len(output) + absent.shape[1], dtype=output.dtype, device=output.device)
    scores[:, len(output) :].masked_fill_(absent, -torch.inf)
    return scores[:, None, :, None]


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
    asking = _by_head(attention.q_proj(queries) * attention.scaling, attention)
    shares = torch.softmax(_with_cells(_merge(asking @ _weight(attention.k_proj, attention)), placed), dim=-1)
    seen = _by_row(_times(shares, keys), attention)
    values = (seen @ _weight(attention.v_proj, attention).transpose(1, 2)).transpose(1, 2).flatten(
        2
    ) + attention.v_proj.bias
    mixed: Tokens = _out_projection(attention)(values)
    return mixed


def _image_to_tokens(
    attention: Attention,
    placed: Cells,
    keys: Tokens,
    *,
    values: Tokens,
    absent: Float[Tensor, "n 1 t 1"] | None,
) -> Cells:
    """Let cells attend to the tokens."""
    heads = attention.num_attention_heads
    asked = _by_head(attention.k_proj(keys) * attention.scaling, attention)
    bias = asked @ attention.q_proj.bias.view(heads, -1, 1)
    bias = bias if absent is None else bias + absent
    scores = _with_cells(_merge(asked @ _weight(attention.q_proj, attention)), placed)
    # Over the tokens, which do not lie side by side in memory: so the softmax runs over many cells at once.
    shares = torch.softmax(_by_row(scores, attention) + bias, dim=2)
    given = _by_head(attention.v_proj(values), attention)
    out = _out_projection(attention)
    mixed = given @ out.weight.reshape(len(out.weight), heads, -1).permute(1, 2, 0)
    # The shares of a head sum to one, so we add the bias to the few tokens instead of the many cells.
    return _merge(shares).transpose(1, 2) @ _merge(mixed + out.bias / heads)


def _by_cell(maps: Float[Tensor, "m c g g"], *, side: int) -> Float[Tensor, "m cells *halves c"]:
    """Reorder a finer map as `_upscale` orders its outputs: by cell, then by row and column within the cell."""
    levels = (int(maps.shape[-1]) // side).bit_length() - 1  # while a graph is made, a shape holds tensors
    halves = (2,) * levels
    parts = maps.view(*maps.shape[:2], side, *halves, side, *halves)
    within = [axis for level in range(levels) for axis in (3 + level, 4 + levels + level)]
    return parts.permute(0, 2, 3 + levels, *within, 1).flatten(1, 2)


def _out_projection(attention: Attention) -> nn.Linear:
    """The output projection, which families after SAM call `o_proj`."""
    return cast("nn.Linear", attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj)


def _by_head(tokens: Float[Tensor, "n t d"], attention: Attention) -> Float[Tensor, "n heads t e"]:
    return tokens.reshape(*tokens.shape[:2], attention.num_attention_heads, -1).transpose(1, 2)


def _by_row(merged: Float[Tensor, "n rows c"], attention: Attention) -> Float[Tensor, "n heads t c"]:
    return merged.view(len(merged), attention.num_attention_heads, -1, merged.shape[-1])


def _merge(by_head: Float[Tensor, "n heads t c"]) -> Float[Tensor, "n heads*t c"]:
    return by_head.flatten(1, 2)


def _weight(projection: nn.Linear, attention: Attention) -> Float[Tensor, "heads e c"]:
    return projection.weight.reshape(attention.num_attention_heads, -1, projection.weight.shape[1])


def _times(rows: Float[Tensor, "n r k"], columns: Float[Tensor, "m k s"]) -> Float[Tensor, "n r s"]:
    """Return `rows @ columns`, without repeating columns that all prompts share (m = 1)."""
    return (rows.flatten(0, 1) @ columns[0]).view(*rows.shape[:2], -1) if len(columns) == 1 else rows @ columns


def _with_cells(rows: Float[Tensor, "n r k"], cells: Float[Tensor, "m s k"]) -> Float[Tensor, "n r s"]:
    """Return `rows @ cells.mT`, as `_times` does; in a training, the cells' gradient has the cells' memory layout."""
    is_learnt = torch.is_grad_enabled() and cells.requires_grad and len(cells) == len(rows)
    # Under autocast the dtypes may differ, and only autocast's own products take both.
    if is_learnt and rows.dtype == cells.dtype and not torch.is_autocast_enabled(rows.device.type):
        product_with_cells: Tensor = _WithCells.apply(rows, cells)  # type: ignore[no-untyped-call]
        return product_with_cells
    return _times(rows, cells.transpose(1, 2))


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


def _upscale(
    convolution: nn.ConvTranspose2d, tokens: Float[Tensor, "*batch c"], *, gelu: bool = False
) -> Float[Tensor, "*batch 2 2 out"]:
    """Return the four outputs of a 2x2 transposed convolution of stride 2 for every token."""
    weight, bias = convolution.weight, convolution.bias
    if bias is None:
        raise ValueError("SAM's up-scaling convolutions have a bias; this decoder's do not")
    wide = product(tokens, weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4), gelu=gelu)
    return wide.reshape(*tokens.shape[:-1], 2, 2, weight.shape[1])
