"""One annotated object: its mask, cut out and packed, and its coverage of the decoder's grid."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from backend.masks.bounds import Bounds
from backend.masks.packed import PackedMask
from backend.masks.prompt import Box
from backend.sam.frame import Frame

SIZES = ("small", "medium", "large")
_MEDIUM_FROM_PX, _LARGE_FROM_PX = 32**2, 96**2  # COCO's (Lin et al. 2014): by area in px of the image as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What people drew in one go, where an object is a part of it: its number on the image, and its whole area."""

    number: int
    area_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledMask:
    """A mask of at least one pixel on an upright image of `height_px` x `width_px`, and its label.

    Packed: a thousand large brush masks stay within memory. `region`: what it was divided from (parts); None: it is
    all that was drawn.
    """

    label: str | None
    height_px: int
    width_px: int
    packed: PackedMask
    region: Region | None = None

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"], *, label: str | None) -> "LabelledMask":
        """Cut the mask out of its image.

        Raises:
            ValueError: the mask is empty.
        """
        return cls.cut(mask, at=(0, 0), size_px=(mask.shape[0], mask.shape[1]), label=label)

    @classmethod
    def cut(
        cls, part: Bool[np.ndarray, "h w"], *, at: tuple[int, int], size_px: tuple[int, int], label: str | None
    ) -> "LabelledMask":
        """Cut the mask out of a part of an image of `size_px`, height and width, that begins `at` row and column.

        Raises:
            ValueError: the mask is empty.
        """
        packed = PackedMask.of(part, at=at)
        if packed.bounds is None:
            raise ValueError(f"an empty mask of {part.shape} has no bounding box: leave it out")
        return cls(label=label, height_px=size_px[0], width_px=size_px[1], packed=packed)

    @property
    def bounds(self) -> Bounds:
        """The bounding box, in px of the image."""
        packed = self.packed
        y1_px, x1_px = packed.y0_px + packed.height_px, packed.x0_px + packed.width_px
        return Bounds(y0_px=packed.y0_px, x0_px=packed.x0_px, y1_px=y1_px, x1_px=x1_px)

    @property
    def crop_shape(self) -> tuple[int, int]:
        """Height and width of the bounding box, in px, at least 1."""
        return self.packed.height_px, self.packed.width_px

    @property
    def crop(self) -> Bool[np.ndarray, "ch cw"]:
        """The mask within its bounding box."""
        return self.packed.crop

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mask on the whole image."""
        return self.packed.window(0, 0, height_px=self.height_px, width_px=self.width_px)

    @property
    def area_px(self) -> int:
        """How many pixels it covers, at least 1."""
        return self.packed.area_px

    @property
    def size(self) -> str:
        """One of SIZES: small below 32 x 32 px of area, large from 96 x 96 px on, as COCO has it."""
        area_px = self.area_px
        return SIZES[(area_px >= _MEDIUM_FROM_PX) + (area_px >= _LARGE_FROM_PX)]

    @property
    def box(self) -> Box:
        """The outer edges of its outermost pixels, in px of the image: a single pixel's box has side 1."""
        return self.bounds.box


def grid_coverage(item: LabelledMask, *, frame: Frame) -> Float32[np.ndarray, "rows cols"]:
    """The share of each grid cell's image area that the mask covers, in [0, 1], exactly.

    One number for each cell that the image reaches (`Frame.grid_reached`), wherever pixel borders fall. Averaged, not
    sampled, so that an edge between two cells can be learnt to less than a cell.
    """
    cell_height_px, cell_width_px = frame.image_px_per_cell(item.height_px, item.width_px)
    rows, columns = frame.grid_reached(item.height_px, item.width_px)
    height, width = item.crop_shape
    top, down = _overlap(rows, cell_height_px, first_px=item.bounds.y0_px, count_px=height, extent_px=item.height_px)
    left, right = _overlap(columns, cell_width_px, first_px=item.bounds.x0_px, count_px=width, extent_px=item.width_px)
    coverage: Float32[np.ndarray, "rows cols"] = np.zeros((rows, columns), np.float32)
    touched = coverage[top : top + len(down), left : left + len(right)]
    np.clip(down @ item.crop.astype(np.float32) @ right.T, 0, 1, out=touched)
    return coverage


def _overlap(
    cells: int, cell_px: float, *, first_px: int, count_px: int, extent_px: int
) -> tuple[int, Float32[np.ndarray, "touched count"]]:
    """How much of each cell (of its part inside the image) each pixel covers, along one axis; of the cells touched.

    With the first of those cells.
    """
    first = max(0, int(first_px / cell_px) - 1)
    last = min(cells, int((first_px + count_px) / cell_px) + 2)
    start = np.arange(first, last)[:, None] * cell_px
    end = np.minimum(start + cell_px, extent_px)
    pixel = first_px + np.arange(count_px)[None]
    shared = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return first, (np.clip(shared, 0, None) / (end - start)).astype(np.float32)
