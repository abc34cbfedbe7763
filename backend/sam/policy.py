"""Which of SAM's four masks answers a prompt.

For anything but one positive click alone it is the single mask, which SAM was trained to give where the prompt is not
ambiguous. One click is: it may mean a part or the whole, and SAM's three further masks are the small, the middle and
the large reading of it (section 3, "Resolving ambiguity").

A score cannot choose among readings: it is sure of them all. What the readings show can. Where the large one is the
whole image, the click's object is one step smaller than SAM takes it for, as with cells, defects and grains; there
the small reading is the object, and the single mask often takes in what lies around it. Where the large reading is an
object in the image, as in photographs of everyday things, the small one is a part, and the single mask the object.
Where both agree, the small reading has the tighter edge. `make quality` measures this on sets of several kinds; a
training measures the policies again on its own project's annotations, and its checkpoint keeps the best.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Prompt

SINGLE, SMALL, LARGE = 0, 1, 3
_WHOLE_PICTURE = 0.8  # share of the image from which on a large reading shows no object
_AGREEING = 0.85  # IoU of the single mask and the small reading that show the same


@runtime_checkable
class Reading(Protocol):
    """A mask in the frame of the grid, and what it is compared by."""

    @property
    def logits(self) -> Float[Tensor, "g g"]:
        """Above 0 on the object."""

    @property
    def score(self) -> float:
        """In [0, 1]."""


Readings = tuple[Reading, Reading, Reading]
"""The single mask, the small and the large reading of one click."""


def consider(prompt: Prompt) -> Sequence[int]:
    """Return the numbers of the masks that decide which of them answers: of `decode_all`'s four, one or three."""
    alone = prompt.box is None and prompt.mask is None and len(prompt.clicks) == 1
    return (SINGLE, SMALL, LARGE) if alone and prompt.clicks[0].is_foreground else (SINGLE,)


class ClickPolicy(StrEnum):
    """How one click's answer is chosen; the value is what a manifest calls it."""

    BY_CONTEXT = "by-context"
    BY_SCORE = "by-score"
    ALWAYS_SINGLE = "single"
    ALWAYS_SMALL = "small"

    def takes_small(self, readings: Sequence[Readings], *, rows: int, columns: int) -> list[bool]:
        """Whether the small reading answers a click, or the single mask; for many clicks at once.

        Args:
            readings: of every click; their logits lie on one device, which is asked once for all of them.
            rows: of the grid that the image reaches.
            columns: likewise.
        """
        if self is ClickPolicy.BY_CONTEXT and readings:
            return _shows_small_object(_above_zero(readings, rows=rows, columns=columns)).tolist()
        if self is ClickPolicy.BY_SCORE:
            return [small.score > single.score for single, small, _ in readings]
        return [self is ClickPolicy.ALWAYS_SMALL for _ in readings]


def policy_of(name: str | None) -> ClickPolicy:
    """Return the policy that a manifest names; a version that names none was judged by its scores, and keeps that."""
    return ClickPolicy(name) if name in list(ClickPolicy) else ClickPolicy.BY_SCORE


def _above_zero(readings: Sequence[Readings], *, rows: int, columns: int) -> Bool[Tensor, "n 3 {rows} {columns}"]:
    masks = torch.stack([reading.logits[:rows, :columns] > 0 for three in readings for reading in three])
    return masks.view(len(readings), 3, rows, columns)


def _shows_small_object(masks: Bool[Tensor, "n 3 rows columns"]) -> Bool[Tensor, " n"]:
    """Whether the large reading is the whole image, or the single mask and the small reading agree."""
    single, small, large = masks.unbind(1)
    shared, either = (single & small).sum((1, 2)), (single | small).sum((1, 2))
    return (large.float().mean((1, 2)) > _WHOLE_PICTURE) | (shared > _AGREEING * either)
