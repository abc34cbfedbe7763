"""Decodes prompts in tiles, where a project's objects are small: in a tile they are larger, and their edges finer.

An image has few tiles (`crop.list_tiles`), so the next prompts find the embedding of theirs in the cache. Large objects
lose more by the missing surroundings than they gain. So a coarse tile answers for small objects alone, and a fine tile
for tiny objects. The coarse tile comes first: it shows what is tiny, and most prompts need no other.

docs/results.md has what that gains on nuclei. With fine tiles for objects of up to 5 % of the image, clicks gain a
little more on one set of nuclei, and lose a little on another.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from backend.masks.bounds import find_bounds
from backend.masks.crop import Tile, find_tile, list_tiles
from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predicted import PredictedMask

COARSE, FINE = 1.5, 2.0  # magnifications: an image has four coarse tiles and nine fine ones
# The longest side of an object that such a tile answers for, over the image's longer side.
SMALL, TINY = 0.08, 0.04


def list_first_tiles(magnification: float) -> tuple[Tile, ...]:
    """List the tiles that prompts are decoded in first.

    Args:
        magnification: of the finest tiles that answer.

    Returns:
        The tiles, as `list_tiles` gives them.
    """
    return list_tiles(min(COARSE, magnification))


def decode_in_tiles(
    embedding: Embedding,
    prompts: Sequence[Prompt],
    *,
    magnification: float,
    decode: Callable[[Embedding, Sequence[Prompt]], Sequence[PredictedMask]],
    encode_tile: Callable[[Tile], Embedding],
) -> tuple[PredictedMask, ...]:
    """Answer every prompt in the coarse tile around it, and a tiny object there in the fine tile around its prompt.

    The whole image answers a prompt that no coarse tile contains, or whose mask there is empty or longer than `SMALL`.
    The coarse tile's answer stays if no fine tile contains the prompt, or if the mask there is empty or longer than
    `TINY`. A short mask around a prompt is never cut off at the tile's side, since the prompt lies in its middle.

    Args:
        embedding: of the whole image.
        prompts: in px of the upright image.
        magnification: of the finest tiles to use; below `FINE` there are coarse tiles alone.
        decode: answers prompts, as `Predictor.decode`; the prompts are in px of the image or tile that was embedded.
        encode_tile: returns the embedding of a tile of the image; the caller may cache embeddings.

    Returns:
        A mask for every prompt, in order and in the frame of the upright image. A mask from a tile has its score and
        its logits from there.
    """
    image = _Image(embedding, decode, encode_tile)
    asked = dict(enumerate(prompts))
    masks = image.answer_short(asked, magnification=min(COARSE, magnification), longest=SMALL)
    if magnification >= FINE:
        tiny = {index: prompts[index] for index, mask in masks.items() if image.measure_length(mask) <= TINY}
        masks |= image.answer_short(tiny, magnification=FINE, longest=TINY)
    rest = [index for index in asked if index not in masks]
    if rest:
        masks |= zip(rest, decode(embedding, [prompts[index] for index in rest]), strict=True)
    return tuple(masks[index] for index in asked)


@dataclass(frozen=True, slots=True)
class _Image:
    """An image, and what encodes and decodes its tiles: the arguments of `decode_in_tiles`."""

    embedding: Embedding
    decode: Callable[[Embedding, Sequence[Prompt]], Sequence[PredictedMask]]
    encode_tile: Callable[[Tile], Embedding]

    def answer_short(
        self, prompts: Mapping[int, Prompt], *, magnification: float, longest: float
    ) -> dict[int, PredictedMask]:
        """The masks from the tiles around the prompts, by the prompt's number: those neither empty nor too long."""
        height, width = self.embedding.height_px, self.embedding.width_px
        masks: dict[int, PredictedMask] = {}
        for tile, indices in self._group(prompts, magnification=magnification).items():
            crop = tile.crop(height, width)
            answers = self.decode(self.encode_tile(tile), [crop.prompt(prompts[index]) for index in indices])
            for index, answer in zip(indices, answers, strict=True):
                # Before it is put into the image, which may be many times as large as the tile.
                if 0 < self.measure_length(answer) <= longest:
                    masks[index] = replace(answer, mask=crop.place(answer.mask, height_px=height, width_px=width))
        return masks

    def measure_length(self, answer: PredictedMask) -> float:
        """The longest side of a mask of the image, or of a tile of it, over the image's longer side; 0 if empty."""
        bounds = find_bounds(answer.mask)
        longer_px = max(self.embedding.height_px, self.embedding.width_px)
        return 0.0 if bounds is None else max(bounds.height_px, bounds.width_px) / longer_px

    def _group(self, prompts: Mapping[int, Prompt], *, magnification: float) -> dict[Tile, list[int]]:
        """The numbers of the prompts by tile, without those that no tile contains."""
        size = {"height_px": self.embedding.height_px, "width_px": self.embedding.width_px}
        groups: dict[Tile, list[int]] = defaultdict(list)
        for index, prompt in prompts.items():
            if (tile := find_tile(prompt, **size, magnification=magnification)) is not None:
                groups[tile].append(index)
        return groups
