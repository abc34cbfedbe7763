"""Checks what no candidate may fail at, however good its figures: finite weights, and plain shapes on a drawn image."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from backend.masks.metrics import iou
from backend.masks.prompt import Prompt
from backend.sam.predictor import Embedding, Predictor, encode, prompt_tensors
from finetuner.data.objects import LabelledMask

FALL = 0.25  # the IoU that a plain shape may lose: training moves the edges, but a broken decoder has no edge
_HEIGHT_PX, _WIDTH_PX = 192, 288


def faults(candidate: Predictor, *, base: Predictor, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """List the candidate's faults as sentences. If there are none, its figures decide.

    Args:
        candidate: the candidate as it would be served.
        base: the base as it is served; shapes that it segments badly itself do not count.
        weights: the trained weights.
    """
    broken = [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]
    if broken:
        return (f"{len(broken)} of {len(weights)} trained weights have values that are not finite, {broken[0]} first",)
    candidate = candidate.trained  # the base would answer a drawn picture in its place
    picture, shapes = smoke_picture()
    embedding = encode(base.base, picture)
    tuned_embedding = embedding if candidate.base is base.base else encode(candidate.base, picture)
    objects = {name: LabelledMask.of(mask, label=None) for name, mask in shapes.items()}
    prompts = [Prompt(box=item.box) for item in objects.values()]
    if not _is_finite(candidate, tuned_embedding, prompts):
        return ("its decoder predicts values that are not finite on the test image",)
    drawn = zip(
        shapes.items(), base.decode(embedding, prompts), candidate.decode(tuned_embedding, prompts), strict=True
    )
    return tuple(
        f"on the test image the {name} with its box falls from IoU {before:.2f} to {after:.2f}"
        for name, before, after in (
            (name, iou(plain.mask, truth), iou(tuned.mask, truth)) for (name, truth), plain, tuned in drawn
        )
        if after < before - FALL
    )


def smoke_picture() -> tuple[Image.Image, dict[str, Bool[np.ndarray, "192 288"]]]:
    """The test image, a bright disc, a dark square and a coloured bar on a grey gradient, and their masks by name."""
    rows, columns = np.mgrid[:_HEIGHT_PX, :_WIDTH_PX]
    shapes = {
        "disc": (rows - 60) ** 2 + (columns - 64) ** 2 < 40**2,
        "square": (abs(rows - 64) < 32) & (abs(columns - 212) < 32),
        "bar": (abs(rows - 154) < 14) & (abs(columns - 144) < 110),
    }
    pixels = np.repeat((90 + columns * 60 // _WIDTH_PX)[..., None], 3, axis=2).astype(np.uint8)
    for name, colour in {"disc": (235, 235, 230), "square": (25, 25, 30), "bar": (200, 60, 40)}.items():
        pixels[shapes[name]] = colour
    return Image.fromarray(pixels), shapes


def _is_finite(predictor: Predictor, embedding: Embedding, prompts: list[Prompt]) -> bool:
    with torch.inference_mode():
        logits, ious = predictor.four_masks(embedding, prompt_tensors(prompts, embedding, frame=predictor.base.frame))
    return bool(torch.isfinite(logits).all() and torch.isfinite(ious).all())
