"""Separates touching objects of one label, which a semantic head draws as one patch, by the promptable decoder.

A patch with a neck may be two objects, or an object with a waist. The outline cannot tell, and a rule that divides
nuclei well would cut people at the neck. SAM can tell. We click in the middle of every part, and divide the patch only
if the clicks show different objects. A cell then goes to the mask with the highest logit there.

Measured on 90 held-out nuclei of 9 images, after a training on 31 other images (mobile-sam,
`tests/benchmarks/touching.py`). Five clicks an image took .14 core-seconds in bfloat16 and .45 in float32; an image
without necks needs no click:

| one region for | found at IoU .5 | at .75 | F1 at IoU .5 | at .75 | mean of .5 to .95 |
| --- | --- | --- | --- | --- | --- |
| each connected patch | .700 | .522 | .750 | .560 | .508 |
| each patch, divided so | .756 | .567 | .782 | .586 | .533 |

A watershed of the distance to the outline, without SAM, finds .722 and .567. Its F1 at IoU .5 is .01 below that of
connected patches, because it divides single objects.
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
Asked = Callable[[Sequence[Place]], Sequence[Candidate]]  # returns the answer to a click at every place
Answers = tuple[Candidate, ...]

_AT_ONCE = 16
_MOST_CLICKS = 64  # of a label on an image; the decoder takes some 30 ms for a click on a CPU
_LEAST_RADIUS = 1.5  # cells; a smaller part is a bump of the outline
_RULES = AutomaticRules()  # its shares say whether two masks show the same object
_AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def draw_with(
    predictor: Predictor,
    embedding: Embedding,
    *,
    run: Callable[[Callable[[], Answers]], Answers] = lambda work: work(),
) -> Asked:
    """Return a function that answers clicks on this image by the predictor.

    `run` runs its work, 16 clicks at a time, so that a caller may put other work in between.
    """
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
    """Divide the patches that show several objects.

    Args:
        patches: for every cell the number, from 1, of its connected patch; 0 outside of patches.
        neck: a patch has two parts if its neck is narrower than this share of the narrower part, in [0, 1].
        ask: answers clicks by the decoder.

    Returns:
        The numbers of the divided patches, which together cover the same cells.
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
    """Return for every patch the middles (row, column) of its parts, the widest part's first.

    A middle is a peak of the distance to the patch's outline. Two peaks are two parts if the pass between them is below
    `neck` times the lower peak. This is persistence (Edelsbrunner, Letscher, Zomorodian 2002) as a ratio, because a
    small part has a small neck.
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
    """Flood the cells from the highest down. Where two hills meet, the lower hill ends, unless the pass is low."""
    hill_of: dict[Place, int] = {}
    tops: list[Place] = []
    into: list[int] = []  # for every hill, the hill that it became part of, or itself
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
        highest = min(met)  # hills are numbered in the order of their height
        hill_of[row, column] = highest
        for hill in met - {highest}:
            top = height[tops[hill]]
            if top < _LEAST_RADIUS or height[row, column] >= neck * top:
                into[hill] = highest
    return [tops[hill] for hill in range(len(tops)) if into[hill] == hill]


def _different(
    candidates: Sequence[Candidate], *, inside: Bool[np.ndarray, "rows cols"]
) -> list[Float[np.ndarray, "rows cols"]]:
    """Return the logits of candidates that show another object of the patch than all better candidates, best first."""
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
    """Return for every cell of the patch the number, from 1, of the object with the highest logit; 0 outside.

    Every object is one connected piece.
    """
    surest = np.where(inside, 1 + np.argmax(np.stack(objects), axis=0), 0)
    whole = np.zeros_like(surest)
    for number in range(1, 1 + len(objects)):
        pieces, _ = ndimage.label(surest == number)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.size:
            whole[pieces == 1 + np.argmax(sizes)] = number
    # Pieces apart from their object's largest piece go to the nearest object.
    row, column = ndimage.distance_transform_edt(whole == 0, return_distances=False, return_indices=True)
    return np.where(inside, whole[row, column], 0)
