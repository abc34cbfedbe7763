"""Turns the maps of a semantic head into objects: an object for every connected patch of a label."""

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
    """Which objects to return.

    Attributes:
        most: the most objects; the best go first.
        least_area: the smallest object, as a share of the image.
        least_score: the lowest score, in [0, 1]. On images without objects a head sees patches that score .04 to .15;
            real objects score .9.
        neck: if a patch has a neck narrower than this share of the parts on either side, the decoder decides whether
            these are two objects (touching.split_touching); 0 for never.
    """

    most: int = 100
    least_area: float = 0.0002
    least_score: float = 0.15
    neck: float = 0.85


@dataclass(frozen=True, slots=True)
class SemanticMaps:
    """The output of a head for one image, on the cells of the grid that the image reaches.

    Attributes:
        labels: the labels of the maps.
        margins: of every label; above zero in the label's cells.
        probabilities: of every label, in [0, 1].
        frame: of the model's family.
    """

    labels: tuple[str | None, ...]
    margins: Float[np.ndarray, "labels rows cols"] = field(repr=False)
    probabilities: Float[np.ndarray, "labels rows cols"] = field(repr=False)
    frame: Frame = field(kw_only=True)


def semantic_maps(head: SemanticHead, embedding: Embedding, *, base: BaseModel) -> SemanticMaps:
    """Apply a head to an image. The embedding and the head must belong to the encoder of `base`."""
    rows, columns = base.frame.grid_reached(embedding.height_px, embedding.width_px)
    with torch.inference_mode():
        positions = cells_of(base.image_positions, torch.float32)
        logits = head(embedding.features.to(base.device), positions).float().cpu()[:, :rows, :columns]
        return SemanticMaps(head.labels, margins(logits).numpy(), probabilities(logits).numpy(), frame=base.frame)


def enlarge_margin(
    margin: Float[np.ndarray, "rows cols"], *, frame: Frame, height_px: int, width_px: int
) -> Bool[np.ndarray, "{height_px} {width_px}"]:
    """Enlarge a margin to the upright image; return where it is above zero."""
    return mask_of_logits(
        torch.from_numpy(_on_canvas(margin, frame)), frame=frame, height_px=height_px, width_px=width_px
    )


def semantic_masks(
    maps: SemanticMaps, *, height_px: int, width_px: int, rules: SemanticRules, ask: Asked | None = None
) -> tuple[tuple[str | None, PredictedMask], ...]:
    """Return all that `iterate_semantic_masks` yields."""
    return tuple(iterate_semantic_masks(maps, height_px=height_px, width_px=width_px, rules=rules, ask=ask))


def iterate_semantic_masks(
    maps: SemanticMaps, *, height_px: int, width_px: int, rules: SemanticRules, ask: Asked | None = None
) -> Iterator[tuple[str | None, PredictedMask]]:
    """Yield objects with their labels, the best first. A mask is enlarged to the image only when it is taken.

    Args:
        maps: of the image.
        height_px: of the upright image.
        width_px: of the upright image.
        rules: which objects to return.
        ask: the promptable decoder on this image (touching.draw_with), which separates touching objects. Without it,
            every connected patch is an object.

    Yields:
        Masks in the frame of the upright image. A score is the mean probability over the object's cells, which is
        `predicted_iou` too, times the stability (scoring.stability), in [0, 1].
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
    """A connected patch, alone on the canvas."""

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
    """Yield the patches that `numbers` numbers, of one label, that take at least `least_area` of the image."""
    margin, probability, frame = maps.margins[label], maps.probabilities[label], maps.frame
    areas = np.bincount(numbers.ravel())
    for number in np.flatnonzero(areas >= max(1.0, least_area * margin.size)):
        if number == 0:
            continue  # the cells outside of all patches
        inside = numbers == number
        logits = _on_canvas(_alone(margin, inside), frame)
        sure = float(probability[inside].mean())
        steady = stability(torch.from_numpy(logits), frame=frame, **size)
        yield _Patch(logits, sure, min(1.0, max(0.0, sure * steady)))


def _alone(
    margin: Float[np.ndarray, "rows cols"], inside: Bool[np.ndarray, "rows cols"]
) -> Float[np.ndarray, "rows cols"]:
    """Return the margin with only this patch's cells above zero, and far below zero at a distance from the patch.

    Cells beside the patch stay as far from zero as they are: between them and the patch runs the enlarged edge.
    """
    reach = 2 + round(0.1 * math.sqrt(int(inside.sum())))
    near = ndimage.maximum_filter(inside.view(np.uint8), size=2 * reach + 1, mode="constant", cval=0) > 0
    return np.where(near, np.where(inside, margin, -np.abs(margin)), np.float32(_FAR))


def _on_canvas(margin: Float[np.ndarray, "rows cols"], frame: Frame) -> Float[np.ndarray, "g g"]:
    """Continue the values at the image's border into the padding, so that objects reach the border."""
    rows, columns = margin.shape
    return np.pad(margin.astype(np.float32), ((0, frame.grid - rows), (0, frame.grid - columns)), mode="edge")
