"""What an annotator points at: from `params.context` of an interactive request to prompts in pixels."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import BadInput
from backend.labelstudio.values import finite_number
from backend.masks.prompt import Box, Click, Prompt

MOST_REGIONS = 2000
# Label Studio's front end lets a prompt stick out of the image by a rounding, never by a per cent.
_SLACK_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt for one object, and the label that its region will carry; None where the annotator chose none."""

    label: str | None
    prompt: Prompt


def prompts_from_context(context: object, *, height_px: int, width_px: int) -> tuple[LabelledPrompt, ...]:
    """Group an interactive request's keypoints and rectangles by label, in the order in which the labels first appear.

    One prompt a label, with all its clicks; `is_positive: false` is a background click. Of several rectangles with one
    label each is a prompt of its own, and every click goes with the last rectangle that was drawn. Labels with nothing
    but background clicks, and all other regions, are left out. Frame: pixels of the upright image.

    Raises:
        BadInput: no list of regions, too many, numbers that are not finite or outside of the image, or an empty box.
    """
    size = _Size(width_px, height_px)
    clicks: dict[str | None, list[Click]] = {}
    boxes: dict[str | None, list[Box]] = {}
    for region in _regions(context):
        kind, value = region.get("type"), region.get("value")
        if kind not in {"keypointlabels", "keypoint", "rectanglelabels", "rectangle"}:
            continue
        if not isinstance(value, Mapping):
            raise BadInput(f"a {kind} region's value is {type(value).__name__}, not an object")
        label = _label(value, kind=str(kind))
        clicks.setdefault(label, [])
        boxes.setdefault(label, [])
        if kind in {"keypointlabels", "keypoint"}:
            clicks[label].append(_click(region, value, size))
        else:
            boxes[label].append(_box(value, size))
    return tuple(
        LabelledPrompt(label, prompt) for label in clicks for prompt in _prompts_of(clicks[label], boxes[label])
    )


@dataclass(frozen=True, slots=True)
class _Size:
    width_px: int
    height_px: int


def _prompts_of(clicks: list[Click], boxes: list[Box]) -> Iterable[Prompt]:
    for box in boxes[:-1]:
        yield Prompt(box=box)
    if boxes or any(click.is_foreground for click in clicks):
        yield Prompt(clicks=tuple(clicks), box=boxes[-1] if boxes else None)


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
    return regions


def _label(value: Mapping[str, Any], *, kind: str) -> str | None:
    labels = value.get(kind) or value.get("labels")
    if not isinstance(labels, list) or not labels:
        return None
    if not isinstance(labels[0], str):
        raise BadInput(f"a region's label is {type(labels[0]).__name__}, not text")
    return labels[0]


def _click(region: Mapping[str, Any], value: Mapping[str, Any], size: _Size) -> Click:
    x_px = _percent(value, "x") * size.width_px / 100
    y_px = _percent(value, "y") * size.height_px / 100
    return Click(x_px, y_px, is_foreground=_is_positive(region.get("is_positive", True)))


def _is_positive(told: object) -> bool:
    """`is_positive` as Label Studio sends it; older front ends send "0" and 0."""
    return told not in (False, 0, "0", "false")


def _box(value: Mapping[str, Any], size: _Size) -> Box:
    """The axis-aligned hull of a rectangle that may be rotated about its top left corner, cut to the image."""
    x, y = _percent(value, "x"), _percent(value, "y")
    width, height = finite_number(value, "width"), finite_number(value, "height")
    if not (0 < width <= 100 + _SLACK_PERCENT and 0 < height <= 100 + _SLACK_PERCENT):
        raise BadInput(f"a rectangle of {width:g} % by {height:g} % is empty or larger than the image; draw it again")
    turn = math.radians(math.fmod(finite_number(value, "rotation", default=0.0), 360.0))
    x_px, y_px = x * size.width_px / 100, y * size.height_px / 100
    right_px, down_px = width * size.width_px / 100, height * size.height_px / 100
    corners = [
        (x_px + a * math.cos(turn) - b * math.sin(turn), y_px + a * math.sin(turn) + b * math.cos(turn))
        for a, b in ((0.0, 0.0), (right_px, 0.0), (0.0, down_px), (right_px, down_px))
    ]
    x0_px, x1_px = (_clamp(edge(x for x, _ in corners), float(size.width_px)) for edge in (min, max))
    y0_px, y1_px = (_clamp(edge(y for _, y in corners), float(size.height_px)) for edge in (min, max))
    if x0_px >= x1_px or y0_px >= y1_px:
        raise BadInput("a rectangle lies outside of the image; draw it again")
    return Box(x0_px, y0_px, x1_px, y1_px)


def _percent(value: Mapping[str, Any], key: str) -> float:
    """A coordinate in [0, 100]; a rounding beyond is cut off."""
    number = finite_number(value, key)
    if not -_SLACK_PERCENT <= number <= 100 + _SLACK_PERCENT:
        raise BadInput(f"{key} is {number:g} %, outside of the image: it goes from 0 to 100")
    return _clamp(number, 100.0)


def _clamp(number: float, most: float) -> float:
    return min(max(number, 0.0), most)
