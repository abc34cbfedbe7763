"""Turns one region of an interactive request into clicks, a box, or an existing mask, in image px."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from backend.errors import BadInput, UnusableRegion
from backend.labelstudio.controls.regions import Region
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import LabelConfig
from backend.masks.points import points_along
from backend.masks.prompt import Box, Click

# Measured: eight points beat one, three and five. A stroke as a mask or a box would shrink the object to the stroke.
_POINTS_OF_A_STROKE = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """A region whose mask is read only on demand: an annotation may hold hundreds of regions."""

    region: Region = field(repr=False)
    size: Size

    @property
    def region_id(self) -> str | None:
        """As `Region.region_id`."""
        return self.region.region_id

    @property
    def from_name(self) -> str | None:
        """The name of the control that drew it; None where the region does not say."""
        return self.region.from_name

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Return its mask over the upright image. A rectangle's mask is its inside.

        Raises:
            BadInput: the region cannot be read, or was drawn on another image.
        """
        try:
            return self.region.mask(self.size)
        except UnusableRegion as fault:
            raise BadInput(
                f"a region of type {self.region.kind} in the request cannot be used: {fault.reason}"
            ) from fault


@dataclass(frozen=True, slots=True)
class Mark:
    """One region as a prompt: clicks, or a box, or an existing mask.

    Attributes:
        label: the region's label; None for none.
        from_name: the control that drew it.
        clicks: in image px.
        box: in image px.
        outline: the region itself beside its box, if it has another shape than the box.
        existing: a region with a mask to refine.
    """

    label: str | None
    from_name: str | None
    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    outline: Drawn | None = None
    existing: Drawn | None = None


def mark_of_region(region: Region, *, size: Size, config: LabelConfig | None) -> Mark | None:
    """Return one region of `context.result` as a prompt; None for a kind that is no prompt, such as a choice.

    A shape that points says how (`Shape.point`): a keypoint gives a click, a rectangle a box. A mask is either a mask
    to refine, or a stroke, which becomes clicks along it: see `is_existing`.

    Args:
        region: of the request.
        size: of the upright image.
        config: the image's controls; None where nobody knows them.

    Raises:
        BadInput: the region has no value, its label is not text, a number is not finite or lies outside of the image,
            the shape is empty, or a stroke cannot be read.
    """
    shape = region.shape
    if shape is None or not (shape.point or shape.is_mask):
        return None
    label, name, drawn = region.label, region.from_name, Drawn(region, size)
    if shape.point is not None:
        pointing = shape.point(region.value, size, is_foreground=region.is_foreground)
        outline = drawn if pointing.has_outline else None
        return Mark(label, name, clicks=pointing.clicks, box=pointing.box, outline=outline)
    if is_existing(region, config=config):
        return Mark(label, name, existing=drawn)
    points = points_along(drawn.mask(), most=_POINTS_OF_A_STROKE, is_foreground=region.is_foreground)
    if not points:
        raise BadInput("a brush stroke is empty; draw it again")
    return Mark(label, name, clicks=points)


def is_existing(region: Region, *, config: LabelConfig | None) -> bool:
    """Return whether a region is a mask to refine rather than a stroke that points at an object.

    Masks to refine are polygons (the editor has no smart polygon), regions that a model made, and regions of a control
    with `smart="false"`. All other brushes and bitmasks are strokes: the editor sends only what people drew with smart
    tools, and every control without `smart="false"` has a smart tool.
    """
    if region.shape is None or not region.shape.is_stroke or region.is_from_model:
        return True
    controls = config.controls if config is not None else ()
    return any(control.from_name == region.from_name and not control.is_smart for control in controls)


def draws_a_mask(region: Region) -> bool:
    """Return whether a region's kind can be refined, such as a brush, a bitmask or a polygon."""
    return region.shape is not None and region.shape.is_mask
