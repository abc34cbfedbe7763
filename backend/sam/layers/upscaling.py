"""Enlarges a decoder's cells to the grid and draws its masks there, a prompt at a time.

A transposed convolution whose stride equals its kernel is one linear map of every token. Only the finished masks are
moved to channels-first.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from backend.sam.family import NO_OBJECT, MaskDecoder
from backend.sam.layers.pointwise import is_traced, product
from backend.sam.layers.two_way import Cells, multiply_by_cells


def upscale(
    decoder: MaskDecoder,
    keys: Cells,
    hyper: Float[Tensor, "m masks k"],
    *,
    skips: Sequence[Float[Tensor, "_ _ _ _"]] = (),
    reached: tuple[int, int] | None = None,
) -> Float[Tensor, "m masks g g"]:
    """Enlarge the cells fourfold in rows and columns, and multiply them by the weights of the masks.

    Kirillov et al. (2023), appendix A, "Lightweight mask decoder": two transposed convolutions, then a product with the
    output of every mask token's MLP.

    Args:
        decoder: has the convolutions.
        keys: the cells from `two_way`, s rows and columns.
        hyper: k weights for every mask, from `mask_weights`.
        skips: a map for every convolution, added to its output before the activation; one for all prompts, or one a
            prompt.
        reached: how many rows and columns of cells matter; None for all. All logits beyond them are `NO_OBJECT`.

    Returns:
        Logits in the frame of the grid (g = 4 s), above 0 on the object; float32 on a CPU, else in the dtype of the
        weights.
    """
    if keys.device.type != "cpu" or is_traced() or len(keys) == 1:
        return _draw(decoder, keys, hyper, skips=skips, reached=reached)
    # The maps of one prompt stay in a processor's cache, and those of several do not.
    own = [[maps[row : row + 1] if len(maps) > 1 else maps for maps in skips] for row in range(len(keys))]
    rows = zip(torch.split(keys, 1), torch.split(hyper, 1), own, strict=True)
    return torch.cat([_draw(decoder, cells, some, skips=maps, reached=reached) for cells, some, maps in rows])


def _draw(
    decoder: MaskDecoder,
    keys: Cells,
    hyper: Float[Tensor, "m masks k"],
    *,
    skips: Sequence[Float[Tensor, "_ _ _ _"]],
    reached: tuple[int, int] | None,
) -> Float[Tensor, "m masks g g"]:
    side = math.isqrt(int(keys.shape[1]))  # while a graph is made, a shape holds tensors
    rows, columns = reached or (side, side)
    if (rows, columns) != (side, side):
        keys = keys.view(len(keys), side, side, -1)[:, :rows, :columns].flatten(1, 2)
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
    flat = multiply_by_cells(hyper, wide.flatten(1, -2)).view(len(wide), -1, rows, columns, 2, 2, 2, 2)
    if flat.device.type != "cpu" or is_traced():
        logits = flat.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5, 7).flatten(2, 4)
    else:
        # Two neighbours in a row stay neighbours. Moved as one complex number, they take a tenth of the time.
        pairs = torch.view_as_complex(flat.float()).permute(0, 1, 2, 4, 6, 3, 5)
        logits = torch.view_as_real(pairs.contiguous()).flatten(5, 7).flatten(2, 4)
    right, below = 4 * (side - columns), 4 * (side - rows)
    return functional.pad(logits, (0, right, 0, below), value=NO_OBJECT) if right or below else logits


def _by_cell(maps: Float[Tensor, "m c g g"], *, side: int) -> Float[Tensor, "m cells *halves c"]:
    """Reorder a finer map as `_upscale` orders its outputs: by cell, then by row and column within the cell."""
    levels = (int(maps.shape[-1]) // side).bit_length() - 1  # while a graph is made, a shape holds tensors
    halves = (2,) * levels
    parts = maps.view(*maps.shape[:2], side, *halves, side, *halves)
    within = [axis for level in range(levels) for axis in (3 + level, 4 + levels + level)]
    return parts.permute(0, 2, 3 + levels, *within, 1).flatten(1, 2)


def _upscale(
    convolution: nn.ConvTranspose2d, tokens: Float[Tensor, "*batch c"], *, gelu: bool = False
) -> Float[Tensor, "*batch 2 2 out"]:
    """Return the four outputs of a 2x2 transposed convolution of stride 2 for every token."""
    weight, bias = convolution.weight, convolution.bias
    if bias is None:
        raise ValueError("SAM's up-scaling convolutions have a bias; this decoder's do not")
    wide = product(tokens, weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4), gelu=gelu)
    return wide.reshape(*tokens.shape[:-1], 2, 2, weight.shape[1])
