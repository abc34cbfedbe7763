"""Rectangles that stand on a task already: what a batch makes masks of."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from backend.errors import BadInput
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.request import LabelledPrompt, prompts_from_context
from backend.masks.prompt import Box

log = logging.getLogger(__name__)
MOST_RECTANGLES = 500
_SAME_IOU = 0.9


def rectangles_of_task(
    task: Mapping[str, Any], *, height_px: int, width_px: int, config: LabelConfig, model_version: str
) -> tuple[LabelledPrompt, ...]:
    """The task's rectangles as prompts with a box each: of its drafts, its annotations, and other models' predictions.

    In this order, at most 500. A rectangle that lies on an earlier one of the same label (IoU over 0.9) is the same
    object, seen by two annotators or saved twice. Left out are cancelled annotations, predictions of `model_version`,
    regions in predictions that any version of ours made (`meta.model_version` tells), and rectangles that cannot be
    read.
    """
    found: list[LabelledPrompt] = []
    for region in _rectangles(task, model_version=model_version):
        try:
            prompts = prompts_from_context({"result": [region]}, height_px=height_px, width_px=width_px, config=config)
        except BadInput as fault:
            log.warning("a rectangle of task %s is left out: %s", str(task.get("id"))[:40], fault)
            continue
        found += [each for each in prompts if not any(_is_same(each, other) for other in found)]
        if len(found) >= MOST_RECTANGLES:
            log.warning("task %s has over %d rectangles; the rest is left out", str(task.get("id"))[:40], len(found))
            break
    return tuple(found)


def has_rectangles(task: Mapping[str, Any], *, model_version: str) -> bool:
    """Whether there is one, readable or not: told without the image's size, so before the image is fetched."""
    return next(_rectangles(task, model_version=model_version), None) is not None


def _rectangles(task: Mapping[str, Any], *, model_version: str) -> Iterator[Mapping[str, Any]]:
    for source in ("drafts", "annotations", "predictions"):
        for holder in _mappings(task.get(source)):
            if holder.get("was_cancelled") or (
                source == "predictions" and holder.get("model_version") == model_version
            ):
                continue
            for region in _mappings(holder.get("result")):
                is_ours = source == "predictions" and "model_version" in _mapping(region.get("meta"))
                if str(region.get("type")) in {"rectanglelabels", "rectangle"} and not is_ours:
                    yield region


def _mappings(told: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in told if isinstance(each, Mapping)) if isinstance(told, list) else iter(())


def _mapping(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _is_same(one: LabelledPrompt, other: LabelledPrompt) -> bool:
    a, b = one.prompt.box, other.prompt.box
    return one.label == other.label and a is not None and b is not None and _iou(a, b) > _SAME_IOU


def _iou(a: Box, b: Box) -> float:
    across = min(a.x1_px, b.x1_px) - max(a.x0_px, b.x0_px)
    down = min(a.y1_px, b.y1_px) - max(a.y0_px, b.y0_px)
    both = max(0.0, across) * max(0.0, down)
    areas = ((each.x1_px - each.x0_px) * (each.y1_px - each.y0_px) for each in (a, b))
    return both / max(sum(areas) - both, 1e-9)
