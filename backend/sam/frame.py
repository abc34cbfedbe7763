"""Computes where an image lies on the canvas that an encoder sees, and on the decoder's grid. Needs no torch.

Three frames meet here. Image px are the pixels of the upright image. Canvas px are those of the square onto which the
image is resized, from its top left. Grid cells are the logits of a mask and cover the whole canvas. Training and
serving both ask this module which cells an image reaches, so they agree on where the image ends.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How a model family lays out an image.

    Attributes:
        preprocessing: names the resizing, normalisation and padding; part of an embedding's key.
        canvas_px: the side of the canvas.
        grid: logits along a side of the canvas. `canvas_px` is a multiple of it if `keeps_aspect`.
        mean: of red, green and blue, from 0 to 255; a pixel of this colour becomes 0.
        std: the deviation of red, green and blue, by which the difference to the mean is divided.
        keeps_aspect: True if the image's longer side fills the canvas and zeros fill the rest; False if both sides are
            stretched to the canvas.
    """

    preprocessing: str
    canvas_px: int
    grid: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    keeps_aspect: bool = True

    @property
    def cell_px(self) -> float:
        """The side of a grid cell, in canvas px; a whole number if `keeps_aspect`."""
        return self.canvas_px / self.grid

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The colour, from 0 to 255, that is nearest to the padding which the encoder sees beyond an image's edge."""
        red, green, blue = self.mean
        return round(red), round(green), round(blue)

    def size_on_canvas(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return the height and the width of an image in canvas px, both at least 1.

        If `keeps_aspect`, this is segment-anything's `ResizeLongestSide.get_preprocess_shape`, which rounds half up.
        """
        if not self.keeps_aspect:
            return self.canvas_px, self.canvas_px
        scale = self.canvas_px / max(height_px, width_px)
        return max(1, int(height_px * scale + 0.5)), max(1, int(width_px * scale + 0.5))

    def grid_reached(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return how many rows and columns of grid cells show at least one canvas px of an image; the rest is padding.

        Args:
            height_px: of the upright image.
            width_px: of the upright image.
        """
        height, width = self.size_on_canvas(height_px, width_px)
        return math.ceil(height / self.cell_px), math.ceil(width / self.cell_px)

    def cells_read(self, side: int, *, height_px: int, width_px: int) -> tuple[int, int]:
        """Return how many rows and columns of an embedding's cells the mask of an image depends on.

        Bilinear enlarging reads a row and a column of the grid beyond those that the image reaches.

        Args:
            side: of the embedding, in cells; the grid is a multiple of it.
            height_px: of the upright image.
            width_px: of the upright image.
        """
        rows, columns = self.grid_reached(height_px, width_px)
        return min(side, rows * side // self.grid + 1), min(side, columns * side // self.grid + 1)

    def image_px_per_canvas_px(self, height_px: int, width_px: int) -> tuple[float, float]:
        """Return how many image px a canvas px spans down and across. Rounding makes the two differ a little."""
        height, width = self.size_on_canvas(height_px, width_px)
        return height_px / height, width_px / width

    def image_px_per_cell(self, height_px: int, width_px: int) -> tuple[float, float]:
        """Return how many image px a grid cell spans down and across."""
        down, across = self.image_px_per_canvas_px(height_px, width_px)
        return self.cell_px * down, self.cell_px * across

    def middle_of_cell(self, row: int, column: int, *, height_px: int, width_px: int) -> tuple[float, float]:
        """Return x and y, in image px, of the middle of a grid cell; at most the image's width and height."""
        down, across = self.image_px_per_cell(height_px, width_px)
        return min((column + 0.5) * across, float(width_px)), min((row + 0.5) * down, float(height_px))


SAM_FRAME = Frame(
    preprocessing="longest-1024-pil-bilinear/imagenet-mean-std/zero-pad-right-bottom/1",
    canvas_px=1024,
    grid=256,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)
"""The frame of Kirillov et al., "Segment Anything" (2023), as in segment-anything's `Sam.preprocess`."""
