"""Decodes many prompts on one image, a few at a time, so that memory and other projects' waits stay bounded.

Until it is drawn, a mask takes one byte per image pixel: 2,000 masks of 12 megapixels would take 24 GB.
"""

from collections.abc import Callable, Iterator, Sequence

from backend.errors import TooMuch
from backend.images.memory import give_back_memory
from backend.masks.crop import Crop
from backend.masks.prompt import Prompt
from backend.sam.closer.tiles import decode_in_tiles
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predictor import PredictedMask, Predictor

# As many as fit into Label Studio's 100 s: a mask of 12 megapixels takes 50 ms to enlarge and to write.
MOST_PIXELS = 20_000_000_000
_PIXELS_AT_ONCE = 64_000_000
_LARGE_PIXELS = 100_000_000  # of all masks together; for fewer, giving back would cost clicks more than it saves
_MOST_AT_ONCE = 32  # as many as the decoder takes in one pass on a GPU

Decode = Callable[[Embedding, Sequence[Prompt]], Sequence[PredictedMask]]


def most_masks(embedding: Embedding) -> int:
    """Return how many masks of the image can be drawn before Label Studio gives up; at least 1."""
    return max(1, MOST_PIXELS // (embedding.height_px * embedding.width_px))


def decode_closer(decode: Decode, predictor: Predictor, *, encode_crop: Callable[[Crop], Embedding]) -> Decode:
    """Return `decode`, or a function that decodes in magnified tiles of the image if the predictor has a magnification.

    Args:
        decode: answers prompts from one embedding.
        predictor: answers the image, as `Predictor.suit` returns it.
        encode_crop: embeds a part of the same image.
    """
    if (magnification := predictor.magnification) is None:
        return decode

    def decode_in_its_tiles(embedding: Embedding, prompts: Sequence[Prompt]) -> Sequence[PredictedMask]:
        return decode_in_tiles(
            embedding,
            prompts,
            magnification=magnification,
            decode=decode,
            encode_tile=lambda tile: encode_crop(tile.crop(embedding.height_px, embedding.width_px)),
        )

    return decode_in_its_tiles


def decode_by_portions(embedding: Embedding, prompts: Sequence[Prompt], *, decode: Decode) -> Iterator[PredictedMask]:
    """Yield one mask per prompt, in order. Draw a mask before you take the next.

    Args:
        embedding: of the image.
        prompts: in image px.
        decode: returns one mask per prompt. It gets at most 32 prompts and 64 megapixels at a time, and may wait for
            its turn, or give up, between these portions.

    Raises:
        TooMuch: the image has too many pixels for so many prompts. Raised before any mask is decoded.
    """
    if len(prompts) > (most := most_masks(embedding)):
        raise TooMuch(
            f"{len(prompts)} objects are too many on an image of {embedding.width_px}x{embedding.height_px} pixels: "
            f"ask for {most} at a time"
        )
    pixels = embedding.height_px * embedding.width_px
    at_once = max(1, min(_MOST_AT_ONCE, _PIXELS_AT_ONCE // pixels))
    portions = (prompts[first : first + at_once] for first in range(0, len(prompts), at_once))
    masks = (mask for portion in portions for mask in decode(embedding, portion))
    return masks if pixels * len(prompts) < _LARGE_PIXELS else _iterate_and_tidy(masks)


def _iterate_and_tidy(masks: Iterator[PredictedMask]) -> Iterator[PredictedMask]:
    """Yield the masks, and give back the memory that they leave behind: hundreds of MiB, which glibc would keep."""
    yield from masks
    give_back_memory()
