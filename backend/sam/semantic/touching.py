"""Touching objects of one label, which a semantic head draws as one patch, told apart by the promptable decoder.

A patch with a neck may be two objects, or an object with a waist: its outline alone cannot tell, and what divides
nuclei well would cut people at the neck. SAM can tell: it is clicked in the middle of every part, and only where the
clicks show different objects is the patch divided. A cell then goes to the mask that is surest of it.

Measured on 90 held-out nuclei of 9 images, after a training on 31 others (mobile-sam, `tests/benchmarks/touching.py`);
the clicks cost .14 core-seconds an image there in bfloat16, .45 in float32 (5 of them; without a neck none):

| one region for | found at IoU .5 | at .75 | F1 at IoU .5 | at .75 | mean of .5 to .95 |
| --- | --- | --- | --- | --- | --- |
| each connected patch | .700 | .522 | .750 | .560 | .508 |
| each patch, divided so | .756 | .567 | .782 | .586 | .533 |

A watershed of the distance to the outline alone finds .722 and .567, and its F1 at IoU .5 is .01 below that of
connected patches: it divides single objects.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from backend.masks.prompt import Click, Prompt
from backend.sam.automatic import AutomaticRules, distinct
from backend.sam.embeddings.embedding import Embedding
from backend.sam.predictor import Candidate, Predictor

Place = tuple[int, int]  # row and column of a cell of the canvas
Asked = Callable[[Sequence[Place]], Sequence[Candidate]]  # what one click at each place shows
Answers = tuple[Candidate, ...]

_AT_ONCE = 16
_MOST_CLICKS = 64  # of a label on an image; the decoder takes some 30 ms for a click on a CPU
_LEAST_RADIUS = 1.5  # cells, of a part: smaller ones are bumps of an outline
_RULES = AutomaticRules()  # its shares tell whether two masks show one object
_AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def draw_with(
    predictor: Predictor,
    embedding: Embedding,
    *,
    run: Callable[[Callable[[], Answers]], Answers] = lambda work: work(),
) -> Asked:
    """The predictor on this image. `run` does its work, 16 clicks at a time: a caller may put other work between."""
    frame = predictor.base.frame

    def make_click(row: int, column: int) -> Prompt:
        return Prompt(
            clicks=(
                Click(*frame.middle_of_cell(row, column, height_px=embedding.height_px, width_px=embedding.width_px)),
            )
        )

    def draw_masks(places: Sequence[Place]) -> list[Candidate]:
        prompts = [make_click(row, column) for row, column in places]
        best: list[Candidate] = []
        for first in range(0, len(prompts), _AT_ONCE):
            some = prompts[first : first + _AT_ONCE]
            best += run(partial(predictor.answers, embedding, some))
        return best

    return draw_masks


def split_touching(patches: Int[np.ndarray, "rows cols"], *, neck: float, ask: Asked) -> Int[np.ndarray, "rows cols"]:
    """The patches, numbered from 1, with those divided that show several objects; what they cover stays the same.

    Args:
        patches: the number of the connected patch that a cell belongs to; 0 where there is none.
        neck: a patch is looked at where what joins two parts is narrower than this share of the narrower one's width,
            in [0, 1].
        ask: the decoder.
    """
    numbers: list[int] = []
    places: list[Place] = []
    for number, tops in find_middles(patches, neck=neck).items():
        if len(tops) > 1 and len(places) + len(tops) <= _MOST_CLICKS:
            numbers += [number] * len(tops)
            places += tops
    if not places:
        return patches
    candidates: dict[int, list[Candidate]] = {}
    for number, candidate in zip(numbers, ask(places), strict=True):
        candidates.setdefault(number, []).append(candidate)
    divided, most = patches.copy(), int(patches.max())
    for number, shown in candidates.items():
        inside = patches == number
        objects = _different(shown, inside=inside)
        if len(objects) > 1:
            divided[inside] = most + _shares(objects, inside=inside)[inside]
            most += len(objects)
    return divided


def find_middles(patches: Int[np.ndarray, "rows cols"], *, neck: float) -> dict[int, list[Place]]:
    """By patch the middles of its parts, row and column, the widest part's first.

    A middle is a top of the distance to the patch's outline. Two tops are two parts if the pass between them is below
    `neck` times the lower one: persistence (Edelsbrunner, Letscher, Zomorodian 2002), as a ratio, since a small part's
    neck is small too.
    """
    inside = patches > 0
    if inside.all():
        return {}  # no outline
    height = np.where(inside, ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), 1.0), 0.0)
    tops = inside & (height >= _LEAST_RADIUS) & (height == ndimage.maximum_filter(height, 3))
    several = np.flatnonzero(np.bincount(patches[tops], minlength=1) > 1)
    rows, columns = np.nonzero(np.isin(patches, several))
    order = np.argsort(-height[rows, columns], kind="stable")
    middles: dict[int, list[Place]] = {}
    cells = list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))
    for row, column in _lasting_tops(height, cells, neck=neck):
        middles.setdefault(int(patches[row, column]), []).append((row, column))
    return middles


def _lasting_tops(height: Float[np.ndarray, "rows cols"], cells: Sequence[Place], *, neck: float) -> list[Place]:
    """Flood the cells from the highest down: where two hills meet the lower one ends, unless their pass is low."""
    hill_of: dict[Place, int] = {}
    tops: list[Place] = []
    into: list[int] = []  # the hill that a hill became part of, or itself
    for row, column in cells:
        met = set()
        for down, right in _AROUND:
            hill = hill_of.get((row + down, column + right))
            while hill is not None and into[hill] != hill:
                hill = into[hill]
            if hill is not None:
                met.add(hill)
        if not met:
            met = {len(tops)}
            into.append(len(tops))
            tops.append((row, column))
        highest = min(met)  # they were numbered as they came up
        hill_of[row, column] = highest
        for hill in met - {highest}:
            top = height[tops[hill]]
            if top < _LEAST_RADIUS or height[row, column] >= neck * top:
                into[hill] = highest
    return [tops[hill] for hill in range(len(tops)) if into[hill] == hill]


def _different(
    candidates: Sequence[Candidate], *, inside: Bool[np.ndarray, "rows cols"]
) -> list[Float[np.ndarray, "rows cols"]]:
    """Logits of the candidates that show another object of the patch than every better candidate, the best first."""
    rows, columns = inside.shape
    best_first = sorted(candidates, key=lambda candidate: candidate.score, reverse=True)
    logits_of = [candidate.logits[:rows, :columns].cpu() for candidate in best_first]
    within = torch.from_numpy(inside)
    shown = [logits for logits in logits_of if (logits[within] > 0).any()]
    if not shown:
        return []
    masks = torch.stack([logits[within] > 0 for logits in shown])
    return [shown[index].numpy() for index in distinct(masks, rules=_RULES)]


def _shares(
    objects: Sequence[Float[np.ndarray, "rows cols"]], *, inside: Bool[np.ndarray, "rows cols"]
) -> Int[np.ndarray, "rows cols"]:
    """For every cell of the patch the number, from 1, of its object: of the surest there, in one piece; outside 0."""
    surest = np.where(inside, 1 + np.argmax(np.stack(objects), axis=0), 0)
    whole = np.zeros_like(surest)
    for number in range(1, 1 + len(objects)):
        pieces, _ = ndimage.label(surest == number)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.size:
            whole[pieces == 1 + np.argmax(sizes)] = number
    # Pieces that lie apart from their object's largest go to whoever is nearest.
    row, column = ndimage.distance_transform_edt(whole == 0, return_distances=False, return_indices=True)
    return np.where(inside, whole[row, column], 0)
