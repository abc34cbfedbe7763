"""Removes specks from masks. Serving draws clean masks, and evaluation judges clean masks.

The logits and the score stay those of the decoder: the logits may be the next prompt, and the score belongs to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from backend.masks.prompt import Click, Prompt
from backend.masks.specks import remove_specks
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predictor import Decodes, PredictedMask


def clean_mask(predicted: PredictedMask, *, specks_px: int, clicks: Sequence[Click] = ()) -> PredictedMask:
    """Remove specks from a mask.

    Args:
        predicted: the decoder's answer, over the upright image.
        specks_px: islands and holes with a smaller area, in image px, are specks: `masks.specks`.
        clicks: the clicks that the mask answers, in image px; an island or a hole under a click is no speck.

    Returns:
        The answer with a clean mask, and with the same score and logits.
    """
    return replace(predicted, mask=remove_specks(predicted.mask, least_px=specks_px, clicks=clicks))


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A predictor whose masks are clean.

    Attributes:
        predictor: decodes.
        specks_px: as `clean_mask` takes it; 0 leaves masks as the decoder draws them.
    """

    predictor: Decodes
    specks_px: int

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """Return a clean mask for every prompt, in the order of the prompts and in the frame of the upright image."""
        answers = zip(self.predictor.decode(embedding, prompts), prompts, strict=True)
        return tuple(clean_mask(mask, specks_px=self.specks_px, clicks=prompt.clicks) for mask, prompt in answers)
