"""Where an image lies on the canvas that an encoder sees, and on the decoder's grid of logits: numbers alone.

Three frames meet here. Image px are those of the upright image. Canvas px are those of the square that the image is
resized onto, from its top left. Grid cells are the logits of a mask, of the whole canvas. Training and serving both ask
this module which cells an image reaches, so they agree on where it ends.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How a model family lays an image out.

    Attributes:
        preprocessing: names resizing, normalisation and padding; embeddings are cached under it.
        canvas_px: side of the canvas.
        grid: logits along a side of the canvas; `canvas_px` is a multiple of it where the aspect is kept.
        mean: of red, green and blue, from 0 to 255; the encoder sees 0 where a pixel has this colour.
        std: what the difference to the mean is divided by.
        keeps_aspect: whether the image's longest side fills the canvas and zeros fill the rest; if not, both sides are
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
        """Canvas px along a side of a grid cell; a whole number where the aspect is kept."""
        return self.canvas_px / self.grid

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The colour, from 0 to 255, that comes nearest to what the encoder sees beyond an image's edge."""
        red, green, blue = self.mean
        return round(red), round(green), round(blue)

    def size_on_canvas(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width of the image in canvas px; neither is 0.

        segment-anything's `ResizeLongestSide.get_preprocess_shape`, which rounds half up, where the aspect is kept.
        """
        if not self.keeps_aspect:
            return self.canvas_px, self.canvas_px
        scale = self.canvas_px / max(height_px, width_px)
        return max(1, int(height_px * scale + 0.5)), max(1, int(width_px * scale + 0.5))

    def grid_reached(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Rows and columns of grid cells that show at least one canvas px of the image; the others are padding."""
        height, width = self.size_on_canvas(height_px, width_px)
        return math.ceil(height / self.cell_px), math.ceil(width / self.cell_px)

    def image_px_per_canvas_px(self, height_px: int, width_px: int) -> tuple[float, float]:
        """Image px that a canvas px spans down and across; the two differ a little, as the canvas has whole px."""
        height, width = self.size_on_canvas(height_px, width_px)
        return height_px / height, width_px / width

    def image_px_per_cell(self, height_px: int, width_px: int) -> tuple[float, float]:
        """Image px that a grid cell spans down and across."""
        down, across = self.image_px_per_canvas_px(height_px, width_px)
        return self.cell_px * down, self.cell_px * across

    def middle_of_cell(self, row: int, column: int, *, height_px: int, width_px: int) -> tuple[float, float]:
        """X and y, in image px, of the middle of a grid cell; at most the image's width and height."""
        down, across = self.image_px_per_cell(height_px, width_px)
        return min((column + 0.5) * across, float(width_px)), min((row + 0.5) * down, float(height_px))


SAM_FRAME = Frame(
    preprocessing="longest-1024-pil-bilinear/imagenet-mean-std/zero-pad-right-bottom/1",
    canvas_px=1024,
    grid=256,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)
"""Kirillov et al., "Segment Anything" (2023), as segment-anything's `Sam.preprocess` has it."""
