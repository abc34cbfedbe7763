"""SAM's mask decoder for many prompts of one image, in a cheaper order of operations. Serves and trains.

Computes the same as `transformers.SamMaskDecoder.forward` (equal to 1e-5, tested), but gives all four masks at once
instead of one or three. What makes it cheaper:
- transformers repeats the image's cells for every prompt before the first layer. Here prompts share the cells until
  they differ.
- The attention between tokens and cells is factored (`layers.two_way`), which halves its work.
- The last attention runs for the decoder's own tokens alone: nobody reads those of the prompts after it.
- Masks are drawn a prompt at a time, and where somebody reads them (`layers.upscaling`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.sam.family import DecoderInputs, MaskDecoder
from backend.sam.layers.pointwise import is_traced
from backend.sam.layers.two_way import Cells, ImageCells, Tokens, two_way
from backend.sam.layers.upscaling import upscale


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
        queries: the token for the IoUs, and the four for the masks.
        keys: the image's cells.
        skips: finer maps of the images, first of 2 s rows, then of 4 s rows; empty for a family without skips.

    Returns:
        As `decode_all` does.
    """
    hyper = mask_weights(decoder, queries[:, 1:])
    skips = skips if inputs.image_of is None else [maps[inputs.image_of] for maps in skips]
    logits = upscale(decoder, keys, hyper, skips=skips, reached=inputs.reached)
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
        The decoder's tokens for every prompt (first `leading`, then one for the IoUs and four for the masks), and the
        image's cells, both in the dtype of the decoder's weights.
    """
    dtype = decoder.iou_token.weight.dtype
    positions, sparse = inputs.positions.to(dtype), inputs.sparse.to(dtype)
    output = torch.cat([*leading, decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output.expand(len(sparse), -1, -1), sparse], dim=1)
    cells = cells_of(inputs.maps[0], dtype)
    cells = (cells if inputs.image_of is None else cells[inputs.image_of]) + cells_of(inputs.dense, dtype)
    absent = _unheard(inputs.absent, output)
    image = ImageCells(cells, positions)
    return two_way(decoder.transformer, tokens, image, absent=absent, answering=len(output))


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


def _unheard(absent: Bool[Tensor, "n k"] | None, output: Float[Tensor, "t c"]) -> Float[Tensor, "n 1 tk 1"] | None:
    """Minus infinity for absent tokens of the prompts, else 0; the decoder's own tokens, in front, are never absent."""
    if absent is None or not bool(absent.any()):
        return None
    scores = torch.zeros(len(absent), len(output) + absent.shape[1], dtype=output.dtype, device=output.device)
    scores[:, len(output) :].masked_fill_(absent, -torch.inf)
    return scores[:, None, :, None]
