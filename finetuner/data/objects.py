"""An annotated object: its mask, cropped and packed, and its coverage of the decoder's grid."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from backend.masks.bounds import Bounds
from backend.masks.packed import PackedMask
from backend.masks.prompt import Box
from backend.sam.frame import Frame

SIZES = ("small", "medium", "large")
_MEDIUM_FROM_PX, _LARGE_FROM_PX = 32**2, 96**2  # areas in px of the original image, as in COCO (Lin et al. 2014)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of which an object is a part: its number on the image, and the area of the whole region."""

    number: int
    area_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledMask:
    """A mask of at least one pixel on an upright image of `height_px` x `width_px`, and its label.

    The mask is packed, so that a thousand large brush masks fit in memory. `region` is the region that the object was
    divided from (parts); None if the object is a whole region.
    """

    label: str | None
    height_px: int
    width_px: int
    packed: PackedMask
    region: Region | None = None

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"], *, label: str | None) -> "LabelledMask":
        """Crop and pack a mask of the whole image.

        Raises:
            ValueError: the mask is empty.
        """
        return cls.cut(mask, at=(0, 0), size_px=(mask.shape[0], mask.shape[1]), label=label)

    @classmethod
    def cut(
        cls, part: Bool[np.ndarray, "h w"], *, at: tuple[int, int], size_px: tuple[int, int], label: str | None
    ) -> "LabelledMask":
        """Crop and pack a mask of a part of an image.

        Args:
            part: the mask of the part.
            at: the part's first row and column in the image.
            size_px: height and width of the image.
            label: the object's label.

        Raises:
            ValueError: the mask is empty.
        """
        packed = PackedMask.of(part, at=at)
        if packed.bounds is None:
            raise ValueError(f"an empty mask of {part.shape} has no bounding box: leave it out")
        return cls(label=label, height_px=size_px[0], width_px=size_px[1], packed=packed)

    @property
    def bounds(self) -> Bounds:
        """The bounding box in image px."""
        packed = self.packed
        y1_px, x1_px = packed.y0_px + packed.height_px, packed.x0_px + packed.width_px
        return Bounds(y0_px=packed.y0_px, x0_px=packed.x0_px, y1_px=y1_px, x1_px=x1_px)

    @property
    def crop_shape(self) -> tuple[int, int]:
        """Height and width of the bounding box in image px, at least 1."""
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
        """The number of pixels, at least 1."""
        return self.packed.area_px

    @property
    def size(self) -> str:
        """One of SIZES, as in COCO: small below an area of 32 x 32 px, large from 96 x 96 px on."""
        area_px = self.area_px
        return SIZES[(area_px >= _MEDIUM_FROM_PX) + (area_px >= _LARGE_FROM_PX)]

    @property
    def box(self) -> Box:
        """The outer edges of the outermost pixels, in image px: a single pixel's box has sides of 1."""
        return self.bounds.box


def grid_coverage(item: LabelledMask, *, frame: Frame) -> Float32[np.ndarray, "rows cols"]:
    """The exact share of every grid cell's image area that the mask covers.

    The share is averaged over the cell instead of sampled, so that the decoder can learn edges finer than a cell.

    Args:
        item: the object.
        frame: the frame with the decoder's grid.

    Returns:
        (rows, columns) float32 in [0, 1], for the cells that the image reaches (`Frame.grid_reached`).
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
    """The first touched cell along one axis, and the share of every touched cell that every pixel covers.

    At the image's border the share is that of the cell's part inside the image.
    """
    first = max(0, int(first_px / cell_px) - 1)
    last = min(cells, int((first_px + count_px) / cell_px) + 2)
    start = np.arange(first, last)[:, None] * cell_px
    end = np.minimum(start + cell_px, extent_px)
    pixel = first_px + np.arange(count_px)[None]
    shared = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return first, (np.clip(shared, 0, None) / (end - start)).astype(np.float32)
