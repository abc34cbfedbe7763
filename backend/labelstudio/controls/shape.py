"""What a control draws. A shape is one value: how its regions are read, written and pointed with."""

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
    """How a region points at an object: by clicks, or by a box; in pixels of the upright image.

    Attributes:
        clicks: what it clicks on.
        box: the axis-aligned box around it, cut to the image.
        has_outline: the region is no box itself, so that its inside is a first guess of the mask.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    has_outline: bool = False


@runtime_checkable
class Reader(Protocol):
    """Reads a region's `value` as a mask."""

    def __call__(self, value: Value, size: Size) -> Bool[np.ndarray, "h w"]:
        """Return the mask over an upright image of `size`; it may be empty.

        Raises:
            BadInput: the value cannot be read.
        """


@runtime_checkable
class Writer(Protocol):
    """Writes a mask as the `value`s of regions."""

    def __call__(self, mask: Bool[np.ndarray, "h w"], *, tolerance_px: float) -> Sequence[dict[str, Any]]:
        """Return a value, without labels, for every region that the mask takes.

        Args:
            mask: over the upright image; not empty.
            tolerance_px: how far an outline may be from the mask's, px of the image.
        """


@runtime_checkable
class Pointer(Protocol):
    """Reads a region's `value` as a prompt."""

    def __call__(self, value: Value, size: Size, *, is_foreground: bool) -> Pointing:
        """Return what the region points at.

        Args:
            value: the region's.
            size: of the upright image.
            is_foreground: False for what was drawn with the background tool.

        Raises:
            BadInput: the value cannot be read, or lies outside of the image.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a control draws. Its tags are <Name> and <NameLabels>, and their names in small letters its regions' types.

    Attributes:
        name: in small letters, such as "brush".
        field: a key that the `value` of every region of this shape holds.
        read: from a region to a mask; None where its regions are no masks.
        write: from a mask to regions; None where no mask is sent to its control.
        point: from a region to a prompt; None where its regions point at nothing, or are masks.
        detail_rank: the place among the shapes that are written, from the most faithful to the coarsest.
        is_mask: its regions are masks that a prompt may refine.
        is_stroke: with a smart tool its regions are strokes that point at an object, not masks.
        is_box: its regions are boxes: a batch makes masks of them, and a training learns from them only if asked.
        is_scalable: its values are in per cent, so that they fit the image in any size.
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
        """The types of its regions: with labels of their own, and without."""
        return f"{self.name}labels", self.name
