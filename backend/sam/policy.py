"""Chooses which of SAM's four masks answers a prompt.

The single mask answers everything except a lone foreground click: SAM learnt it for prompts that are not ambiguous. A
lone click is ambiguous, because it may mean a part or the whole. SAM's other three masks are the small, the middle and
the large reading of such a click (Kirillov et al. 2023, section 3, "Resolving ambiguity").

Scores cannot choose among the readings, because the score head is sure of all of them. The masks themselves can:
- If the large reading covers the whole image, the object is a step smaller than SAM assumes, as with cells, defects and
  grains. The small reading is the object, and the single mask often includes its surroundings.
- If the large reading is an object in the image, as in photographs of everyday things, the small reading is a part, and
  the single mask is the object.
- If the small reading and the single mask agree, the small reading has the tighter edge.
`make quality` measures this on sets of several kinds. A training measures the policies on its project's annotations,
and its checkpoint records the best.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Prompt
from backend.sam.layers.counting import count_set, to_countable

SINGLE, SMALL, LARGE = 0, 1, 3
_READINGS_AT_ONCE = 32
WHOLE_IMAGE = 0.8  # a large reading that covers more than this share of the image shows no object
AGREEING = 0.85  # above this IoU, the single mask and the small reading show the same


@runtime_checkable
class Reading(Protocol):
    """A mask in the frame of the grid, and its score."""

    @property
    def logits(self) -> Float[Tensor, "g g"]:
        """Above 0 on the object."""

    @property
    def score(self) -> float:
        """In [0, 1]."""


Readings = tuple[Reading, Reading, Reading]
"""The single mask, the small and the large reading of one click."""

Masks = Bool[Tensor, "n 3 rows columns"] | Bool[np.ndarray, "n 3 rows columns"]


def consider(prompt: Prompt) -> Sequence[int]:
    """List the masks that may answer a prompt, or help to choose.

    Args:
        prompt: in any frame; only its parts count.

    Returns:
        Numbers of the decoder's four masks: SINGLE, SMALL and LARGE for a lone foreground click, else SINGLE alone.
    """
    alone = prompt.box is None and prompt.mask is None and len(prompt.clicks) == 1
    return (SINGLE, SMALL, LARGE) if alone and prompt.clicks[0].is_foreground else (SINGLE,)


class ClickPolicy(StrEnum):
    """How to choose the answer to a lone click. The value is the name in a manifest."""

    BY_CONTEXT = "by-context"
    BY_SCORE = "by-score"
    ALWAYS_SINGLE = "single"
    ALWAYS_SMALL = "small"

    def takes_small(self, readings: Sequence[Readings], *, rows: int, columns: int) -> list[bool]:
        """Return for many clicks whether the small reading answers, instead of the single mask.

        Args:
            readings: of every click. Their logits lie on one device, from which the answers are read at once.
            rows: how many rows of the grid the image reaches.
            columns: how many columns of the grid the image reaches.

        Returns:
            A bool for every click, in their order.
        """
        if self is ClickPolicy.BY_CONTEXT and readings:
            return _shows_small_object(_above_zero(readings, rows=rows, columns=columns)).tolist()
        if self is ClickPolicy.BY_SCORE:
            return [small.score > single.score for single, small, _ in readings]
        return [self is ClickPolicy.ALWAYS_SMALL for _ in readings]


def policy_of(name: str | None) -> ClickPolicy:
    """Find the policy that a manifest names.

    Args:
        name: as the manifest has it; None in a manifest from the time when the score decided.

    Returns:
        The policy; BY_SCORE without a name, or with one that this version does not know.
    """
    return ClickPolicy(name) if name in list(ClickPolicy) else ClickPolicy.BY_SCORE


def _above_zero(readings: Sequence[Readings], *, rows: int, columns: int) -> Masks:
    if readings[0][0].logits.device.type == "cpu":
        above = (to_countable(reading.logits[:rows, :columns]) > 0 for three in readings for reading in three)
        return np.stack(list(above)).reshape(len(readings), 3, rows, columns)
    # Many at once, since on a GPU an operation takes longer to start than to run. Not all, since logits take four times
    # the memory of masks.
    parts = (readings[first : first + _READINGS_AT_ONCE] for first in range(0, len(readings), _READINGS_AT_ONCE))
    logits = (torch.stack([reading.logits for three in part for reading in three]) for part in parts)
    masks = torch.cat([values[:, :rows, :columns] > 0 for values in logits])
    return masks.view(len(readings), 3, rows, columns)


def _shows_small_object(masks: Masks) -> Bool[Tensor, " n"]:
    """Whether the large reading covers the whole image, or the single mask and the small reading agree."""
    single, small, large = (masks[:, number] for number in range(3))
    shared, either = count_set(single & small), count_set(single | small)
    return (count_set(large) > WHOLE_IMAGE * large.shape[1] * large.shape[2]) | (shared > AGREEING * either)
