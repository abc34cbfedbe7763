"""The type of a shape, which a control draws: how to read its regions, write them, and point with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from backend.masks.prompt import Box, Click

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the upright image, in px."""

    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """How a region points at an object: by clicks or by a box, in image px.

    Attributes:
        clicks: the clicks, if it points by clicks.
        box: the axis-aligned box around the region, cut to the image.
        has_outline: whether the region itself is no such box; its inside is then a first guess of the mask.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    has_outline: bool = False


@runtime_checkable
class Reader(Protocol):
    """Reads a region's `value` as a mask."""

    def __call__(self, value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
        """Return the mask over an upright image of `size`. The mask may be empty.

        Raises:
            BadInput: the value cannot be read.
        """


@runtime_checkable
class Writer(Protocol):
    """Writes a mask as the `value`s of regions."""

    def __call__(self, mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
        """Return a `value` without labels for every region that the mask takes.

        Args:
            mask: over the upright image; not empty.
            tolerance_px: how far an outline may be from the mask's, image px.
        """


@runtime_checkable
class Pointer(Protocol):
    """Reads a region's `value` as a prompt."""

    def __call__(self, value: Value, size: Size, *, is_foreground: bool) -> Pointing:
        """Return what the region points at.

        Args:
            value: the region's `value`.
            size: of the upright image.
            is_foreground: False if the region was drawn with the background tool.

        Raises:
            BadInput: the value cannot be read, or lies outside of the image.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a control draws. Its tags are <Name> and <NameLabels>; these names in small letters are its regions' types.

    Attributes:
        name: in small letters, such as "brush".
        field: a key that the `value` of every region of this shape holds.
        read: turns a region into a mask; None if its regions are no masks.
        write: turns a mask into regions; None if its control gets no masks.
        point: turns a region into a prompt; None if its regions are masks or point at nothing.
        detail_rank: its place among the shapes that can be written; the most faithful shape has the lowest.
        is_mask: its regions are masks that a prompt may refine.
        is_stroke: a smart tool's regions are strokes that point at an object, not masks.
        is_box: its regions are boxes. A batch turns them into masks; a training learns from them only if asked to.
        is_scalable: its values are in per cent, so they fit the image in any size.
    """

    name: str
    field: str
    read: Reader | None = None
    write: Writer | None = None
    point: Pointer | None = None
    detail_rank: int = 0
    is_mask: bool = False
    is_stroke: bool = False
    is_box: bool = False
    is_scalable: bool = True

    @property
    def kinds(self) -> tuple[str, str]:
        """The types of its regions: with labels of their own, and without labels."""
        return f"{self.name}labels", self.name
