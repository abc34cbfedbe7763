"""Decodes prompts in tiles, where a project's objects are small: in a tile they are larger, and their edges finer.

An image has few tiles (`crop.list_tiles`), so the next prompts find the embedding of theirs in the cache. Large objects
lose more by the missing surroundings than they gain, so a tile answers for small objects alone.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from backend.masks.bounds import find_bounds
from backend.masks.crop import Tile, find_tile
from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predicted import PredictedMask

SMALL = 0.08  # the longest side of an object that a tile answers for, over the image's longer side


def decode_in_tiles(
    embedding: Embedding,
    prompts: Sequence[Prompt],
    *,
    magnification: float,
    decode: Callable[[Embedding, Sequence[Prompt]], Sequence[PredictedMask]],
    encode_tile: Callable[[Tile], Embedding],
) -> tuple[PredictedMask, ...]:
    """Answer every prompt in the tile around it.

    The whole image answers a prompt that no tile contains, or whose mask in the tile is empty or too long (`SMALL`). A
    short mask around a prompt is never cut off at the tile's side, since the prompt lies in its middle.

    Args:
        embedding: of the whole image.
        prompts: in px of the upright image.
        magnification: of the tiles, above 1.
        decode: answers prompts, as `Predictor.decode`; the prompts are in px of the image or tile that was embedded.
        encode_tile: returns the embedding of a tile of the image; the caller may cache embeddings.

    Returns:
        A mask for every prompt, in order and in the frame of the upright image. A mask from a tile has its score and
        its logits from there.
    """
    height, width = embedding.height_px, embedding.width_px
    masks: dict[int, PredictedMask] = {}
    for tile, indices in _group(prompts, embedding, magnification=magnification).items():
        crop = tile.crop(height, width)
        answers = decode(encode_tile(tile), [crop.prompt(prompts[index]) for index in indices])
        for index, answer in zip(indices, answers, strict=True):
            bounds = find_bounds(answer.mask)
            if bounds is not None and max(bounds.height_px, bounds.width_px) <= SMALL * max(height, width):
                masks[index] = replace(answer, mask=crop.place(answer.mask, height_px=height, width_px=width))
    rest = [index for index in range(len(prompts)) if index not in masks]
    if rest:
        masks |= zip(rest, decode(embedding, [prompts[index] for index in rest]), strict=True)
    return tuple(masks[index] for index in range(len(prompts)))


def _group(prompts: Sequence[Prompt], embedding: Embedding, *, magnification: float) -> dict[Tile, list[int]]:
    """The numbers of the prompts by tile, without those that no tile contains."""
    size = {"height_px": embedding.height_px, "width_px": embedding.width_px}
    groups: dict[Tile, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        if (tile := find_tile(prompt, **size, magnification=magnification)) is not None:
            groups[tile].append(index)
    return groups
