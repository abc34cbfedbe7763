"""Masks as annotators see them: without specks. Serving draws these, and evaluation judges these.

The decoder's own answer stays as it is: its logits are the next prompt, and its score was measured on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.masks.prompt import Click, Prompt
from backend.masks.specks import remove_specks
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predictor import Decodes, PredictedMask


def clean_mask(predicted: PredictedMask, *, specks_px: int, clicks: Sequence[Click] = ()) -> PredictedMask:
    """Take specks out of a mask.

    Args:
        predicted: the decoder's answer, over the upright image.
        specks_px: islands and holes of fewer pixels of the image are specks: `masks.specks`.
        clicks: that the mask answers, in px of the image; an island or a hole that was clicked on is no speck.

    Returns:
        The answer with another mask; score and logits are as they were.
    """
    return replace(predicted, mask=remove_specks(predicted.mask, least_px=specks_px, clicks=clicks))


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A predictor whose masks are clean.

    Attributes:
        predictor: gives the masks.
        specks_px: as `clean_mask` takes it; 0: masks are as the decoder draws them.
    """

    predictor: Decodes
    specks_px: int

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """One clean mask for every prompt, in the order of the prompts and in the frame of the upright image."""
        answers = zip(self.predictor.decode(embedding, prompts), prompts, strict=True)
        return tuple(clean_mask(mask, specks_px=self.specks_px, clicks=prompt.clicks) for mask, prompt in answers)
