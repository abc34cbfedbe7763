"""Reads the rectangles that are on a task already. A batch turns them into masks."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from backend.errors import BadInput
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.request import LabelledPrompt, prompts_from_regions
from backend.masks.prompt import Box

log = logging.getLogger(__name__)
MOST_RECTANGLES = 1000
_SAME_IOU = 0.9


def rectangles_of_task(  # noqa: PLR0913 - all by name
    task: Mapping[str, Any],
    *,
    height_px: int,
    width_px: int,
    config: LabelConfig,
    model_version: str,
    most: int = MOST_RECTANGLES,
) -> tuple[LabelledPrompt, ...]:
    """Return a task's rectangles as prompts with a box, of its drafts, its annotations, and other models' predictions.

    A rectangle with an IoU over 0.9 with an earlier rectangle of the same label is the same object: two annotators saw
    it, or somebody saved it twice. Left out are cancelled annotations, predicted regions that a version of ours made
    (`meta.model_version`), and rectangles that cannot be read.

    Args:
        task: Label Studio's JSON.
        height_px: of the upright image.
        width_px: of the upright image.
        config: the image's controls.
        model_version: the version that predicts now; its stored predictions are left out.
        most: the most prompts to return.
    """
    size = Size(height_px, width_px)
    distinct: list[LabelledPrompt] = []
    for region in _rectangles(task, model_version=model_version):
        try:
            prompts = prompts_from_regions([region], size=size, config=config)
        except BadInput as fault:
            log.warning("a rectangle of task %s is left out: %s", str(task.get("id"))[:40], fault)
            continue
        distinct += [prompt for prompt in prompts if not any(_is_same(prompt, other) for other in distinct)]
        if len(distinct) >= most:
            break
    return tuple(distinct[:most])


def has_rectangles(task: Mapping[str, Any], *, model_version: str) -> bool:
    """Whether the task has such a rectangle, readable or not. Needs no image size, so nobody has to fetch the image."""
    return next(_rectangles(task, model_version=model_version), None) is not None


def _rectangles(task: Mapping[str, Any], *, model_version: str) -> Iterator[Region]:
    for source in ("drafts", "annotations", "predictions"):
        rows = task.get(source)
        for holder in rows if isinstance(rows, list) else ():
            if not isinstance(holder, Mapping) or holder.get("was_cancelled"):
                continue
            if source == "predictions" and holder.get("model_version") == model_version:
                continue
            for region in regions_of(holder.get("result")):
                is_ours = source == "predictions" and region.model_version is not None
                if region.shape is not None and region.shape.is_box and not is_ours:
                    yield region


def _is_same(one: LabelledPrompt, other: LabelledPrompt) -> bool:
    a, b = one.prompt.box, other.prompt.box
    return one.label == other.label and a is not None and b is not None and _iou(a, b) > _SAME_IOU


def _iou(a: Box, b: Box) -> float:
    across = min(a.x1_px, b.x1_px) - max(a.x0_px, b.x0_px)
    down = min(a.y1_px, b.y1_px) - max(a.y0_px, b.y0_px)
    both = max(0.0, across) * max(0.0, down)
    areas = ((box.x1_px - box.x0_px) * (box.y1_px - box.y0_px) for box in (a, b))
    return both / max(sum(areas) - both, 1e-9)
