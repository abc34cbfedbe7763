"""Turns an interactive request into one prompt for every object, in image px."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import BadInput
from backend.labelstudio.controls.regions import Region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.prompts.existing import existing_under
from backend.labelstudio.prompts.marks import Drawn, Mark, draws_a_mask, mark_of_region
from backend.masks.points import points_along
from backend.masks.prompt import Click, Prompt

MOST_REGIONS = 2000
# Every mask in a prompt takes a byte for every pixel of the image.
MOST_MASKS = 64
_MOST_MASK_BYTES = 1 << 29


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt for one object.

    Attributes:
        label: the label that its region will carry; None if the annotator chose none.
        prompt: in image px.
        drawn_with: the name of the control that drew the newest region of the prompt.
        refines: the region whose mask the prompt refines, and which the new mask replaces.
    """

    label: str | None
    prompt: Prompt
    drawn_with: str | None = field(default=None, compare=False)
    refines: Drawn | None = field(default=None, compare=False)


def prompts_from_context(
    context: object,
    *,
    height_px: int,
    width_px: int,
    config: LabelConfig | None = None,
    task: Mapping[str, Any] | None = None,
) -> tuple[LabelledPrompt, ...]:
    """Group an interactive request's regions by label, in the order in which the labels first appear.

    All clicks of a label, and the clicks along its brush strokes, point at one object. Every box and every ellipse is
    an object of its own. Regions without a label join the newest label. The clicks of a label refine the existing mask
    that the oldest click on any mask lies in, else the newest box, else the newest existing mask. An existing mask
    without clicks stays as it is. A click with `is_positive: false` is a background click.

    A label with only background clicks refines the region of the `task`, drawn or predicted, that the first click lies
    in. If it lies in none, the label gives no prompt.

    Args:
        context: the request's `params.context`.
        height_px: of the upright image.
        width_px: of the upright image.
        config: the image's controls; None where nobody knows them.
        task: the request's task, with its drafts, annotations and predictions.

    Returns:
        Prompts in px of the upright image.

    Raises:
        BadInput: the context holds no list of regions, or too many regions or masks; a number is not finite or lies
            outside of the image; a shape is empty; or a mask cannot be read.
    """
    size = Size(height_px=height_px, width_px=width_px)
    regions = _regions(context, most_masks=_most_masks(size))
    return prompts_from_regions(regions, size=size, config=config, task=task)


def prompts_from_regions(
    regions: Sequence[Region], *, size: Size, config: LabelConfig | None, task: Mapping[str, Any] | None = None
) -> tuple[LabelledPrompt, ...]:
    """Group regions by label, as `prompts_from_context` does. Raises as it does, but takes any number of regions."""
    most = _most_masks(size)
    marks = [mark for region in regions if (mark := mark_of_region(region, size=size, config=config)) is not None]
    # Beyond the limit, the box stands for the outline.
    spare = most - sum(mark.existing is not None for mark in marks)
    for number in [number for number, mark in enumerate(marks) if mark.outline is not None][max(0, spare) :]:
        marks[number] = replace(marks[number], outline=None)
    newest = next((mark.label for mark in reversed(marks) if mark.label is not None), None)
    groups: dict[str | None, list[Mark]] = {}
    for mark in marks:
        groups.setdefault(mark.label or newest, []).append(mark)
    return tuple(
        LabelledPrompt(label, prompt, drawn_with=group[-1].from_name, refines=refines)
        for label, group in groups.items()
        for prompt, refines in _objects(group, label=label, task=task or {}, size=size)
    )


def _most_masks(size: Size) -> int:
    return max(1, min(MOST_MASKS, _MOST_MASK_BYTES // (size.height_px * size.width_px)))


def _objects(
    group: list[Mark], *, label: str | None, task: Mapping[str, Any], size: Size
) -> Iterable[tuple[Prompt, Drawn | None]]:
    """Yield a prompt for every object of one label, with the region that it refines."""
    clicks = tuple(click for mark in group for click in mark.clicks)
    boxes = [_read_boxes(mark) for mark in group if mark.box is not None]
    under = _under(group, clicks, label=label, task=task, size=size)
    if under is not None:
        yield from ((box, None) for box in boxes)
        yield _refining(under, clicks), under
        return
    yield from ((box, None) for box in boxes[:-1])
    if boxes:
        yield replace(boxes[-1], clicks=clicks), None
    elif any(click.is_foreground for click in clicks):
        yield Prompt(clicks=clicks), None


def _read_boxes(mark: Mark) -> Prompt:
    try:
        inside = mark.outline.mask() if mark.outline is not None else None
    except BadInput:
        # The outline belongs to an image of another size. Its box is in per cent, so it fits nevertheless.
        inside = None
    return Prompt(box=mark.box, mask=inside if inside is not None and inside.any() else None)


def _under(
    group: list[Mark], clicks: tuple[Click, ...], *, label: str | None, task: Mapping[str, Any], size: Size
) -> Drawn | None:
    """The mask that the clicks of a label refine; None if they refine none."""
    standing = [mark.existing for mark in group if mark.existing is not None]
    clicked = _read_clicks(standing, clicks)
    if clicked is not None or not clicks or any(mark.box is not None for mark in group):
        return clicked
    if standing:
        return standing[-1]
    return None if clicks[0].is_foreground else existing_under(task, click=clicks[0], label=label, size=size)


def _refining(existing: Drawn, clicks: tuple[Click, ...]) -> Prompt:
    """Return the mask with its clicks, and with a foreground click inside of it if the clicks hold none.

    SAM learnt to refine a mask together with the clicks that made it. Without any of these clicks it loses the object:
    a lone background click on a mask of a coin gave everything but the coin.
    """
    mask = existing.mask()
    if not any(click.is_foreground and _holds(mask, click) for click in clicks):
        background = [click for click in clicks if not click.is_foreground]
        clicks = (*points_along(mask, most=1, apart_from=background), *clicks)
    return Prompt(clicks=clicks, mask=mask)


def _read_clicks(standing: list[Drawn], clicks: tuple[Click, ...]) -> Drawn | None:
    """The mask that the oldest click on any mask lies in; the newest such mask where they overlap."""
    hits: list[tuple[int, int]] = []
    for number, existing in enumerate(standing if clicks else ()):
        mask = existing.mask()
        first = next((index for index, click in enumerate(clicks) if _holds(mask, click)), None)
        if first is not None:
            hits.append((first, -number))
    return standing[-min(hits)[1]] if hits else None


def _holds(mask: Bool[np.ndarray, "h w"], click: Click) -> bool:
    return bool(mask[min(int(click.y_px), mask.shape[0] - 1), min(int(click.x_px), mask.shape[1] - 1)])


def _regions(context: object, *, most_masks: int) -> list[Region]:
    if context is None:
        return []
    if not isinstance(context, Mapping):
        raise BadInput(f"params.context is {type(context).__name__}, not an object")
    results = context.get("result") or []
    if not isinstance(results, list):
        raise BadInput(f"params.context.result is {type(results).__name__}, not a list of regions")
    if len(results) > MOST_REGIONS:
        raise BadInput(f"params.context.result has {len(results)} regions; at most {MOST_REGIONS} are allowed")
    if not all(isinstance(result, Mapping) for result in results):
        raise BadInput("params.context.result holds something that is not a region")
    regions = list(regions_of(results))
    masks = sum(draws_a_mask(region) for region in regions)
    if masks > most_masks:
        raise BadInput(
            f"params.context.result has {masks} masks; at most {most_masks} are allowed on an image of this size"
        )
    return regions
