"""What a predictor answers: a mask with its scores, and before that the candidates for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.scoring import expect_iou


@dataclass(frozen=True, slots=True)
class PredictedMask:
    """The mask of one object.

    Attributes:
        mask: bool, in the frame of the upright image; True on the object.
        score: the expected quality of the mask, in [0, 1]: see `scoring`.
        low_res_logits: float32, in the frame of the grid; above 0 on the object, `NO_OBJECT` far from the image.
        predicted_iou: the raw output of the decoder's score head; may be above 1 or below 0.
        object_score: above 0 if the decoder sees the prompt's object in the image; None if it has no such score.
    """

    mask: Bool[np.ndarray, "h w"] = field(repr=False)
    score: float
    low_res_logits: Float[np.ndarray, "g g"] = field(repr=False)
    predicted_iou: float
    object_score: float | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the decoder says that the image does not show the prompt's object; the mask is empty then."""
        return self.object_score is not None and self.object_score <= 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mask that may become an answer.

    Attributes:
        logits: float32 on the base's device, in the frame of the grid (`Frame.grid`); above 0 on the object.
        predicted_iou: the raw output of the decoder's score head; may be above 1 or below 0.
        stability: `scoring.stability`, in [0, 1]; 0 if the object is absent.
        object_score: above 0 if the decoder sees the prompt's object in the image; None if it has no such score.
    """

    logits: Float[Tensor, "g g"] = field(repr=False)
    predicted_iou: float
    stability: float
    object_score: float | None = None

    @property
    def score(self) -> float:
        """The score that compares candidates, in [0, 1].

        It is not calibrated: a checkpoint's calibration is measured on the masks that this score has chosen.
        """
        return expect_iou(self.predicted_iou) * self.stability


@runtime_checkable
class Decodes(Protocol):
    """A predictor, or a stand-in for a predictor."""

    def decode(self, embedding: Embedding, prompts: Sequence[Prompt]) -> tuple[PredictedMask, ...]:
        """As `Predictor.decode`: a mask for every prompt, in their order and in the frame of the upright image."""
