"""One annotated object: its mask, cut out and packed, and its coverage of the decoder's 256 grid."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from backend.masks.prompt import Box

SIZES = ("small", "medium", "large")
_MEDIUM_FROM_PX, _LARGE_FROM_PX = 32**2, 96**2  # COCO's (Lin et al. 2014): by area in px of the image as it is

GRID = 256  # cells of the decoder's low-resolution mask, along the longer side of the image


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


def grid_shape(height_px: int, width_px: int) -> tuple[int, int]:
    """Rows and columns of the grid that the image reaches; the rest of the 256 is padding."""
    cell_px = max(height_px, width_px) / GRID
    return min(GRID, int(np.ceil(height_px / cell_px - 1e-6))), min(GRID, int(np.ceil(width_px / cell_px - 1e-6)))


def grid_coverage(item: LabelledMask) -> Float32[np.ndarray, "rows cols"]:
    """The share of each cell's image area that the mask covers, in [0, 1], exactly.

    A cell is `max(height, width) / 256` pixels wide, wherever pixel borders fall: the grid of the decoder's logits on
    the 1024 canvas. Averaged, not sampled, so that an edge between two cells can be learnt to less than a cell.
    """
    cell_px = max(item.height_px, item.width_px) / GRID
    rows, columns = grid_shape(item.height_px, item.width_px)
    height, width = item.crop_shape
    top, down = _overlap(rows, cell_px, first_px=item.y0_px, count_px=height, extent_px=item.height_px)
    left, right = _overlap(columns, cell_px, first_px=item.x0_px, count_px=width, extent_px=item.width_px)
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
