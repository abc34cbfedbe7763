"""The objects that a semantic head sees in an image: one for every connected patch of a label, without a prompt."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from backend.sam.canvas import mask_of_logits
from backend.sam.decoder import cells_of
from backend.sam.embeddings.embedding import Embedding
from backend.sam.frame import Frame
from backend.sam.loading import BaseModel
from backend.sam.predictor import PredictedMask
from backend.sam.scoring import stability
from backend.sam.semantic.head import SemanticHead, margins, probabilities
from backend.sam.semantic.touching import Asked, split_touching

_FAR = -32.0  # a logit that no enlargement brings above zero


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticRules:
    """What is kept: the best `most` objects of at least `least_area`, a share of the image, and of `least_score`.

    On images without an object a head sees patches that score .04 to .15, where real objects score .9.

    `neck`: where a patch is that narrow, as a share of the width of the parts on either side, the decoder is asked
    whether those are two objects (touching.split_touching); 0: never.
    """

    most: int = 100
    least_area: float = 0.0002
    least_score: float = 0.15
    neck: float = 0.85


@dataclass(frozen=True, slots=True)
class SemanticMaps:
    """What a head says of one image, on the cells of the grid that the image reaches.

    `margins` are above zero where a label is; `probabilities` in [0, 1]; both in the order of `labels`.
    """

    labels: tuple[str | None, ...]
    margins: Float[np.ndarray, "labels rows cols"] = field(repr=False)
    probabilities: Float[np.ndarray, "labels rows cols"] = field(repr=False)
    frame: Frame = field(kw_only=True)


def semantic_maps(head: SemanticHead, embedding: Embedding, *, base: BaseModel) -> SemanticMaps:
    """Look at an image; `base` is the one whose encoder the embedding and the head are of."""
    rows, columns = base.frame.grid_reached(embedding.height_px, embedding.width_px)
    with torch.inference_mode():
        positions = cells_of(base.image_positions, torch.float32)
        logits = head(embedding.features.to(base.device), positions).float().cpu()[:, :rows, :columns]
        return SemanticMaps(head.labels, margins(logits).numpy(), probabilities(logits).numpy(), frame=base.frame)


def enlarge_margin(
    margin: Float[np.ndarray, "rows cols"], *, frame: Frame, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Where a margin is above zero, at the image's own resolution."""
    return mask_of_logits(
        torch.from_numpy(_on_canvas(margin, frame)), frame=frame, height_px=height_px, width_px=width_px
    )


def semantic_masks(
    maps: SemanticMaps, *, height_px: int, width_px: int, rules: SemanticRules, ask: Asked | None = None
) -> tuple[tuple[str | None, PredictedMask], ...]:
    """As `iterate_semantic_masks`, all at once."""
    return tuple(iterate_semantic_masks(maps, height_px=height_px, width_px=width_px, rules=rules, ask=ask))


def iterate_semantic_masks(
    maps: SemanticMaps, *, height_px: int, width_px: int, rules: SemanticRules, ask: Asked | None = None
) -> Iterator[tuple[str | None, PredictedMask]]:
    """The objects with their labels, the best first; a mask is brought to the image when it is taken.

    With `ask`, the promptable decoder on this image (touching.asked), patches of touching objects are told apart;
    without it every connected patch is one object.

    A score is the mean probability of the object's cells times its stability (scoring.stability), in [0, 1]; the
    former stands as `predicted_iou` too.
    """
    size = {"height_px": height_px, "width_px": width_px}
    patches: list[tuple[str | None, _Patch]] = []
    for number, label in enumerate(maps.labels):
        numbers, _ = ndimage.label(maps.margins[number] > 0)
        if ask is not None:
            numbers = split_touching(numbers, neck=rules.neck, ask=ask)
        found = _patches(maps, numbers, label=number, least_area=rules.least_area, size=size)
        patches += [(label, patch) for patch in found if patch.score >= rules.least_score]
    best = sorted(patches, key=lambda labelled: labelled[1].score, reverse=True)[: rules.most]
    return ((label, patch.mask(frame=maps.frame, **size)) for label, patch in best)


@dataclass(frozen=True, slots=True)
class _Patch:
    """A connected patch alone on the canvas."""

    logits: Float[np.ndarray, "g g"]
    probability: float
    score: float

    def mask(self, *, frame: Frame, height_px: int, width_px: int) -> PredictedMask:
        mask = mask_of_logits(torch.from_numpy(self.logits), frame=frame, height_px=height_px, width_px=width_px)
        return PredictedMask(mask=mask, score=self.score, low_res_logits=self.logits, predicted_iou=self.probability)


def _patches(
    maps: SemanticMaps,
    numbers: Int[np.ndarray, "rows cols"],
    *,
    label: int,
    least_area: float,
    size: Mapping[str, int],
) -> Iterator[_Patch]:
    """The patches that `numbers` counts, of the label of that place in the maps; at least that share of the image."""
    margin, probability, frame = maps.margins[label], maps.probabilities[label], maps.frame
    areas = np.bincount(numbers.ravel())
    for number in np.flatnonzero(areas >= max(1.0, least_area * margin.size)):
        if number == 0:
            continue  # what is no patch
        inside = numbers == number
        logits = _on_canvas(_alone(margin, inside), frame)
        sure = float(probability[inside].mean())
        steady = stability(torch.from_numpy(logits), frame=frame, **size)
        yield _Patch(logits, sure, min(1.0, max(0.0, sure * steady)))


def _alone(
    margin: Float[np.ndarray, "rows cols"], inside: Bool[np.ndarray, "rows cols"]
) -> Float[np.ndarray, "rows cols"]:
    """The margin with this patch's cells above zero and no other's; far from it nothing is left.

    Cells beside it keep their values: between those and the patch's own the edge runs once the map is enlarged.
    """
    reach = 2 + round(0.1 * math.sqrt(int(inside.sum())))
    near = ndimage.maximum_filter(inside.view(np.uint8), size=2 * reach + 1, mode="constant", cval=0) > 0
    return np.where(near, np.where(inside, margin, -np.abs(margin)), np.float32(_FAR))


def _on_canvas(margin: Float[np.ndarray, "rows cols"], frame: Frame) -> Float[np.ndarray, "g g"]:
    """Continued beyond the image as it ends there, so that an object at its border is not drawn back from it."""
    rows, columns = margin.shape
    return np.pad(margin.astype(np.float32), ((0, frame.grid - rows), (0, frame.grid - columns)), mode="edge")
