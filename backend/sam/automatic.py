"""Finds everything that stands out in an image, without a prompt: clicks on a grid, and selects the good masks.

This is segment-anything's automatic mask generation, with two differences. It compares whole masks instead of their
boxes. Of a part and its whole it returns only the better one, because an annotator wants every object once.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from backend.masks.prompt import Click, Prompt
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame
from backend.sam.policy import SINGLE, SMALL
from backend.sam.predictor import Candidate, PredictedMask, Predictor

Rivals = tuple[tuple[Candidate, ...], ...]
_CLICKS_AT_ONCE = 16
_MOST_COMPARED = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticRules:
    """Where to click, and which candidates to return.

    Attributes:
        points: clicks along the image's longer side; equally dense along the shorter side.
        most: the most masks to return; the best go first.
        least_score: the lowest score, predicted IoU x stability, in [0, 1].
        least_area: the smallest mask, as a share of the image; smaller masks are specks.
        most_area: the largest mask, as a share of the image; larger masks are the ground on which things lie.
        most_iou: a mask whose IoU with a better mask is above this shows the same object.
        most_inside: a mask is a part or the whole of a better mask if more than this share of the smaller of the two
            lies in the other.
    """

    points: int = 16
    most: int = 100
    least_score: float = 0.75
    least_area: float = 0.0001
    most_area: float = 0.4
    most_iou: float = 0.5
    most_inside: float = 0.8


def automatic_masks(
    predictor: Predictor,
    embedding: Embedding,
    *,
    rules: AutomaticRules,
    until_s: float = float("inf"),
    run: Callable[[Callable[[], Rivals]], Rivals] = lambda work: work(),
) -> tuple[PredictedMask, ...]:
    """As `automatic_candidates`, with masks in the frame of the upright image, and for any predictor."""
    suited, embedding = predictor.suit(embedding)
    candidates = automatic_candidates(suited, embedding, rules=rules, until_s=until_s, run=run)
    return suited.masks_of(candidates, embedding)


def automatic_candidates(
    predictor: Predictor,
    embedding: Embedding,
    *,
    rules: AutomaticRules,
    until_s: float = float("inf"),
    run: Callable[[Callable[[], Rivals]], Rivals] = lambda work: work(),
) -> tuple[Candidate, ...]:
    """Find the objects of an image.

    Every click of a grid gives two candidates, the single mask and the small reading (see `policy`).

    Args:
        predictor: decodes; `Predictor.suit` has chosen it for the image.
        embedding: of the image, by the encoder of the predictor's base.
        rules: where to click, and which candidates to return.
        until_s: when to stop, on the clock `time.monotonic`; the objects of the clicks until then are returned.
        run: runs the decoder's work, sixteen clicks at a time, so that a caller may put other work in between.

    Returns:
        Candidates in the frame of the grid, the best first; nothing if nothing stands out.
    """
    prompts = [Prompt(clicks=(click,)) for click in grid(embedding, points=rules.points)]
    good: list[Candidate] = []
    for first in range(0, len(prompts), _CLICKS_AT_ONCE):
        if time.monotonic() >= until_s:
            break
        some = prompts[first : first + _CLICKS_AT_ONCE]
        rivals = run(partial(predictor.candidates, embedding, some, which=lambda _: (SINGLE, SMALL)))
        is_good = partial(_is_good, embedding=embedding, frame=predictor.base.frame, rules=rules)
        # Cloned: a view of one mask would hold the masks of all sixteen clicks in memory.
        good += [
            replace(candidate, logits=candidate.logits.clone())
            for candidates in rivals
            for candidate in candidates
            if is_good(candidate)
        ]
    best = sorted(good, key=lambda candidate: candidate.score, reverse=True)[:_MOST_COMPARED]
    if not best:
        return ()
    masks = torch.stack([candidate.logits > 0 for candidate in best]).flatten(1)
    return tuple(best[index] for index in distinct(masks, rules=rules))


def grid(embedding: Embedding, *, points: int) -> Iterator[Click]:
    """Spread clicks over an image.

    Args:
        embedding: of the image, for its size.
        points: how many clicks lie along the image's longer side.

    Yields:
        Clicks in image px, in the middles of equal cells, row by row.
    """
    longer = max(embedding.height_px, embedding.width_px)
    rows, columns = (max(1, round(points * side / longer)) for side in (embedding.height_px, embedding.width_px))
    for row in range(rows):
        for column in range(columns):
            yield Click((column + 0.5) * embedding.width_px / columns, (row + 0.5) * embedding.height_px / rows)


def _is_good(candidate: Candidate, *, embedding: Embedding, frame: Frame, rules: AutomaticRules) -> bool:
    if candidate.score < rules.least_score:
        return False
    rows, columns = frame.grid_reached(embedding.height_px, embedding.width_px)
    inside = candidate.logits[:rows, :columns] > 0
    return rules.least_area <= float(inside.float().mean()) <= rules.most_area


def distinct(masks: Bool[Tensor, "n cells"], *, rules: AutomaticRules) -> list[int]:
    """Choose masks that show different objects.

    Args:
        masks: over the cells of the grid, the best first.
        rules: what counts as a duplicate, a part or a whole, and how many masks to choose.

    Returns:
        Indices of the masks that are no duplicate, part or whole of a better mask, the best first.
    """
    double = _same(masks, rules=rules)
    chosen: list[int] = []
    for index in range(len(masks)):
        if len(chosen) < rules.most and not double[index, chosen].any():
            chosen.append(index)
    return chosen


def _same(masks: Bool[Tensor, "n cells"], *, rules: AutomaticRules) -> Bool[Tensor, "n n"]:
    """For every two masks, whether they show the same object."""
    flat: Float[Tensor, "n cells"] = masks.float()
    both, area = flat @ flat.T, flat.sum(1)
    either = area[:, None] + area[None, :] - both
    smaller = torch.minimum(area[:, None], area[None, :])
    return (both > rules.most_iou * either) | (both > rules.most_inside * smaller)
