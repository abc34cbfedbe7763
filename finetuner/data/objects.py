"""One annotated object: its mask, cut out and packed, and its coverage of the decoder's grid."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from backend.masks.prompt import Box
from backend.sam.frame import Frame

SIZES = ("small", "medium", "large")
_MEDIUM_FROM_PX, _LARGE_FROM_PX = 32**2, 96**2  # COCO's (Lin et al. 2014): by area in px of the image as it is


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledMask:
    """A mask of at least one pixel on an image of `height_px` x `width_px`; its bounding box begins at `y0_px, x0_px`.

    Packed eight pixels a byte: a thousand large brush masks stay within memory.
    """

    label: str | None
    height_px: int
    width_px: int
    y0_px: int
    x0_px: int
    crop_shape: tuple[int, int]
    packed: UInt8[np.ndarray, " bytes"]

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"], *, label: str | None) -> "LabelledMask":
        """Cut the mask out.

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
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not rows.size:
            raise ValueError(f"an empty mask of {part.shape} has no bounding box")
        crop = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(
            label=label,
            height_px=size_px[0],
            width_px=size_px[1],
            y0_px=at[0] + int(rows[0]),
            x0_px=at[1] + int(columns[0]),
            crop_shape=(crop.shape[0], crop.shape[1]),
            packed=np.packbits(crop),
        )

    @property
    def crop(self) -> Bool[np.ndarray, "ch cw"]:
        """The mask within its bounding box."""
        height, width = self.crop_shape
        return np.unpackbits(self.packed, count=height * width).reshape(height, width).astype(bool)

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mask on the whole image."""
        full = np.zeros((self.height_px, self.width_px), bool)
        full[self.y0_px : self.y0_px + self.crop_shape[0], self.x0_px : self.x0_px + self.crop_shape[1]] = self.crop
        return full

    @property
    def area_px(self) -> int:
        """How many pixels it covers."""
        return int.from_bytes(self.packed.tobytes()).bit_count()

    @property
    def size(self) -> str:
        """One of SIZES: small below 32 x 32 px of area, large from 96 x 96 px on, as COCO has it."""
        area_px = self.area_px
        return SIZES[(area_px >= _MEDIUM_FROM_PX) + (area_px >= _LARGE_FROM_PX)]

    @property
    def box(self) -> Box:
        """The outer edges of its outermost pixels: a single pixel's box has side 1."""
        height, width = self.crop_shape
        return Box(float(self.x0_px), float(self.y0_px), float(self.x0_px + width), float(self.y0_px + height))


def grid_coverage(item: LabelledMask, *, frame: Frame) -> Float32[np.ndarray, "rows cols"]:
    """The share of each grid cell's image area that the mask covers, in [0, 1], exactly.

    One number for each cell that the image reaches (`Frame.grid_reached`), wherever pixel borders fall. Averaged, not
    sampled, so that an edge between two cells can be learnt to less than a cell.
    """
    cell_height_px, cell_width_px = frame.image_px_per_cell(item.height_px, item.width_px)
    rows, columns = frame.grid_reached(item.height_px, item.width_px)
    height, width = item.crop_shape
    top, down = _overlap(rows, cell_height_px, first_px=item.y0_px, count_px=height, extent_px=item.height_px)
    left, right = _overlap(columns, cell_width_px, first_px=item.x0_px, count_px=width, extent_px=item.width_px)
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
