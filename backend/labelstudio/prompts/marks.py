"""What one region of an interactive request says, in pixels: clicks, a box, or a mask that is there already."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from backend.errors import BadInput
from backend.labelstudio.controls.regions import UnusableRegion, mask_of_region
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.values import finite_number
from backend.masks.points import points_along
from backend.masks.prompt import Box, Click

# Label Studio's front end lets a prompt stick out of the image by a rounding, never by a per cent.
_SLACK_PERCENT = 1.0
# Measured: eight points beat one, three and five, and beat the stroke as a mask or a box, which shrink the mask to it.
_POINTS_OF_A_STROKE = 8
_SHAPES = frozenset({"keypoint", "rectangle", "ellipse", "brush", "bitmask", "polygon"})
_MASKS = frozenset({"brush", "bitmask", "polygon"})


@dataclass(frozen=True, slots=True)
class Size:
    """Of the upright image, in px."""

    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A region whose mask is read when it is wanted: an annotation may hold hundreds."""

    region: Mapping[str, Any] = field(repr=False)
    size: Size

    @property
    def region_id(self) -> str | None:
        """Its id, where it has one of at most 200 characters."""
        told = self.region.get("id")
        return told if isinstance(told, str) and 0 < len(told) <= 200 else None

    @property
    def from_name(self) -> str | None:
        """The control that it was drawn with."""
        return from_name_of(self.region)

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Its mask; a rectangle's is its inside.

        Raises:
            BadInput: it cannot be read, or was drawn on another image.
        """
        return _mask(self.region, self.size)


@dataclass(frozen=True, slots=True)
class Mark:
    """One region as a prompt: clicks, or a box (with its outline, where that is no box), or an existing mask."""

    label: str | None
    from_name: str | None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    outline: Drawn | None = None
    existing: Drawn | None = None


def mark_of_region(region: Mapping[str, Any], *, size: Size, config: LabelConfig | None) -> Mark | None:
    """Read one region of `context.result`; None for a kind that is no prompt, such as a choice or a relation.

    A keypoint is a click, a rectangle a box. A rotated rectangle and an ellipse are the box around them and their
    inside, a first guess of the mask: with both, masks of real objects are better than with the box alone. A brush or
    a bitmask is a stroke, which becomes clicks along it, or an existing mask: see `is_existing`. A polygon is an
    existing mask.

    Raises:
        BadInput: no value, a label that is not text, numbers that are not finite or outside of the image, an empty
            shape, or a stroke that cannot be read.
    """
    kind, value = str(region.get("type")), region.get("value")
    shape = kind.removesuffix("labels")
    if shape not in _SHAPES:
        return None
    if not isinstance(value, Mapping):
        raise BadInput(f"a {kind} region's value is {type(value).__name__}, not an object")
    plain = Mark(label_of(value, kind=kind), from_name_of(region))
    if shape == "keypoint":
        return replace(plain, clicks=(_click(region, value, size),))
    if shape == "rectangle":
        turned = math.fmod(finite_number(value, "rotation", default=0.0), 90.0) != 0
        return replace(plain, box=_box(value, size), outline=Drawn(region, size) if turned else None)
    if shape == "ellipse":
        return replace(plain, box=_box_of_ellipse(value, size), outline=Drawn(region, size))
    if is_existing(region, config=config):
        return replace(plain, existing=Drawn(region, size))
    points = points_along(_mask(region, size), most=_POINTS_OF_A_STROKE, is_foreground=_is_positive(region))
    if not points:
        raise BadInput("a brush stroke is empty; draw it again")
    return replace(plain, clicks=points)


def is_existing(region: Mapping[str, Any], *, config: LabelConfig | None) -> bool:
    """Whether a region is a mask to refine rather than a stroke that points at an object.

    It is if it is a polygon (the editor has no smart polygon), if a model made it (`origin` says so, or
    `meta.model_version` does), or if its control says `smart="false"`. All other brushes and bitmasks are strokes: the
    editor sends nothing but what was drawn with a smart tool, and every control without `smart="false"` has one.
    """
    if str(region.get("type")).removesuffix("labels") not in {"brush", "bitmask"}:
        return True
    meta = region.get("meta")
    if str(region.get("origin")).startswith("prediction") or (isinstance(meta, Mapping) and "model_version" in meta):
        return True
    name = from_name_of(region)
    controls = config.controls if config is not None else ()
    return any(control.from_name == name and not control.is_smart for control in controls)


def draws_a_mask(region: Mapping[str, Any]) -> bool:
    """Whether a region's kind can be refined: brush, bitmask or polygon."""
    return str(region.get("type")).removesuffix("labels") in _MASKS


def _mask(region: Mapping[str, Any], size: Size) -> Bool[np.ndarray, "h w"]:
    try:
        return mask_of_region(region, height_px=size.height_px, width_px=size.width_px, rectangles_are_masks=True)
    except UnusableRegion as fault:
        raise BadInput(
            f"a region of type {region.get('type')} in the request cannot be used: {fault.reason}"
        ) from fault


def label_of(value: Mapping[str, Any], *, kind: str) -> str | None:
    """Return a region's first label.

    Raises:
        BadInput: it is not text.
    """
    labels = value.get(kind) or value.get("labels")
    if not isinstance(labels, list) or not labels:
        return None
    if not isinstance(labels[0], str):
        raise BadInput(f"a region's label is {type(labels[0]).__name__}, not text")
    return labels[0]


def from_name_of(region: Mapping[str, Any]) -> str | None:
    """The control that a region says it was drawn with."""
    told = region.get("from_name")
    return told if isinstance(told, str) else None


def _is_positive(region: Mapping[str, Any]) -> bool:
    """`is_positive` as Label Studio sends it; older front ends send "0" and 0."""
    return region.get("is_positive", True) not in (False, 0, "0", "false")


def _click(region: Mapping[str, Any], value: Mapping[str, Any], size: Size) -> Click:
    x_px = _percent(value, "x") * size.width_px / 100
    y_px = _percent(value, "y") * size.height_px / 100
    return Click(x_px, y_px, is_foreground=_is_positive(region))


def _box(value: Mapping[str, Any], size: Size) -> Box:
    """The axis-aligned hull of a rectangle that may be rotated about its top left corner, cut to the image."""
    x, y = _percent(value, "x"), _percent(value, "y")
    width, height = _side(value, "width", "height", what="rectangle")
    turn = math.radians(math.fmod(finite_number(value, "rotation", default=0.0), 360.0))
    x_px, y_px = x * size.width_px / 100, y * size.height_px / 100
    right_px, down_px = width * size.width_px / 100, height * size.height_px / 100
    corners = [
        (x_px + a * math.cos(turn) - b * math.sin(turn), y_px + a * math.sin(turn) + b * math.cos(turn))
        for a, b in ((0.0, 0.0), (right_px, 0.0), (0.0, down_px), (right_px, down_px))
    ]
    xs, ys = zip(*corners, strict=True)
    return _cut(min(xs), min(ys), max(xs), max(ys), size=size, what="rectangle")


def _box_of_ellipse(value: Mapping[str, Any], size: Size) -> Box:
    """The box around an ellipse that may be rotated about its centre, cut to the image."""
    x_px, y_px = _percent(value, "x") * size.width_px / 100, _percent(value, "y") * size.height_px / 100
    radius_x, radius_y = _side(value, "radiusX", "radiusY", what="ellipse")
    turn = math.radians(math.fmod(finite_number(value, "rotation", default=0.0), 360.0))
    along_px, across_px = radius_x * size.width_px / 100, radius_y * size.height_px / 100
    reach_x_px = math.hypot(along_px * math.cos(turn), across_px * math.sin(turn))
    reach_y_px = math.hypot(along_px * math.sin(turn), across_px * math.cos(turn))
    edges = x_px - reach_x_px, y_px - reach_y_px, x_px + reach_x_px, y_px + reach_y_px
    return _cut(*edges, size=size, what="ellipse")


def _side(value: Mapping[str, Any], first: str, second: str, *, what: str) -> tuple[float, float]:
    """Two lengths in per cent, above 0 and no larger than the image."""
    sides = finite_number(value, first), finite_number(value, second)
    if not all(0 < side <= 100 + _SLACK_PERCENT for side in sides):
        raise BadInput(
            f"a {what} of {first} {sides[0]:g} % and {second} {sides[1]:g} % is empty or larger than the image; "
            "draw it again"
        )
    return sides


def _cut(x0_px: float, y0_px: float, x1_px: float, y1_px: float, *, size: Size, what: str) -> Box:  # noqa: PLR0913 - four edges
    box = Box(
        _clamp(x0_px, float(size.width_px)),
        _clamp(y0_px, float(size.height_px)),
        _clamp(x1_px, float(size.width_px)),
        _clamp(y1_px, float(size.height_px)),
    )
    if box.x0_px >= box.x1_px or box.y0_px >= box.y1_px:
        article = "an" if what == "ellipse" else "a"
        raise BadInput(f"{article} {what} lies outside of the image; draw it again")
    return box


def _percent(value: Mapping[str, Any], key: str) -> float:
    """A coordinate in [0, 100]; a rounding beyond is cut off."""
    number = finite_number(value, key)
    if not -_SLACK_PERCENT <= number <= 100 + _SLACK_PERCENT:
        raise BadInput(f"{key} is {number:g} %, outside of the image: it goes from 0 to 100")
    return _clamp(number, 100.0)


def _clamp(number: float, most: float) -> float:
    return min(max(number, 0.0), most)
