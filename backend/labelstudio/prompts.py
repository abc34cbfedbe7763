"""What an annotator points at: from an interactive request to one prompt for each object, in pixels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.errors import BadInput
from backend.labelstudio.existing import existing_under
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.marks import Existing, Mark, Size, draws_a_mask, mark_of_region
from backend.masks.prompt import Click, Prompt

MOST_REGIONS = 2000
# Each is decoded at the size of the image.
MOST_MASKS = 64


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt for one object, and the label that its region will carry; None where the annotator chose none.

    `drawn_with` names the control of the newest region in it. `refines` is the region whose mask the prompt refines:
    what comes out takes its place.
    """

    label: str | None
    prompt: Prompt
    drawn_with: str | None = field(default=None, compare=False)
    refines: Existing | None = field(default=None, compare=False)


def prompts_from_context(
    context: object,
    *,
    height_px: int,
    width_px: int,
    config: LabelConfig | None = None,
    task: Mapping[str, Any] | None = None,
) -> tuple[LabelledPrompt, ...]:
    """Group an interactive request's regions by label, in the order in which the labels first appear.

    Clicks, and brush strokes as clicks along them, point at one object a label; every box and ellipse is an object of
    its own. Regions without a label go with the newest label. All clicks of a label go with the existing mask that the
    oldest click on any of them lies in (`is_positive: false` is a background click), else with the newest box, else
    with the newest existing mask, and refine it. Existing masks without a click are left as they are.

    A label with nothing but background clicks is about the region of the `task`, drawn or predicted, that the first of
    them lies in; where there is none it points at nothing. Frame: pixels of the upright image.

    Raises:
        BadInput: no list of regions, too many, numbers that are not finite or outside of the image, an empty shape, or
            a mask that cannot be read.
    """
    size = Size(height_px=height_px, width_px=width_px)
    regions = _regions(context)
    marks = [mark for region in regions if (mark := mark_of_region(region, size=size, config=config)) is not None]
    newest = next((mark.label for mark in reversed(marks) if mark.label is not None), None)
    groups: dict[str | None, list[Mark]] = {}
    for mark in marks:
        groups.setdefault(mark.label or newest, []).append(mark)
    return tuple(
        LabelledPrompt(label, prompt, drawn_with=group[-1].from_name, refines=refines)
        for label, group in groups.items()
        for prompt, refines in _objects(group, label=label, task=task or {}, size=size)
    )


def _objects(
    group: list[Mark], *, label: str | None, task: Mapping[str, Any], size: Size
) -> Iterable[tuple[Prompt, Existing | None]]:
    """Every object of one label."""
    clicks = tuple(click for mark in group for click in mark.clicks)
    boxes = [mark.box for mark in group if mark.box is not None]
    standing = [mark.existing for mark in group if mark.existing is not None]
    under = _clicked(standing, clicks)
    if under is None and clicks and not boxes:
        if standing:
            under = standing[-1]
        elif not clicks[0].is_foreground:
            under = existing_under(task, click=clicks[0], label=label, size=size)
    if under is not None:
        yield from ((Prompt(box=box), None) for box in boxes)
        yield Prompt(clicks=clicks, mask=under.mask()), under
        return
    yield from ((Prompt(box=box), None) for box in boxes[:-1])
    if boxes or any(click.is_foreground for click in clicks):
        yield Prompt(clicks=clicks, box=boxes[-1] if boxes else None), None


def _clicked(standing: list[Existing], clicks: tuple[Click, ...]) -> Existing | None:
    """The mask that the oldest click on any of them lies in, the newest where they overlap."""
    hits: list[tuple[int, int]] = []
    for number, existing in enumerate(standing if clicks else ()):
        mask = existing.mask()
        inside = (
            index
            for index, click in enumerate(clicks)
            if mask[min(int(click.y_px), mask.shape[0] - 1), min(int(click.x_px), mask.shape[1] - 1)]
        )
        if (first := next(inside, None)) is not None:
            hits.append((first, -number))
    return standing[-min(hits)[1]] if hits else None


def _regions(context: object) -> list[Mapping[str, Any]]:
    if context is None:
        return []
    if not isinstance(context, Mapping):
        raise BadInput(f"params.context is {type(context).__name__}, not an object")
    regions = context.get("result") or []
    if not isinstance(regions, list):
        raise BadInput(f"params.context.result is {type(regions).__name__}, not a list of regions")
    if len(regions) > MOST_REGIONS:
        raise BadInput(f"params.context.result has {len(regions)} regions, and {MOST_REGIONS} are the most")
    if not all(isinstance(region, Mapping) for region in regions):
        raise BadInput("params.context.result holds something that is not a region")
    masks = sum(draws_a_mask(region) for region in regions)
    if masks > MOST_MASKS:
        raise BadInput(f"params.context.result has {masks} masks, and {MOST_MASKS} are the most")
    return regions
