"""Parts of an image, which are encoded by themselves: a crop, and the overlapping tiles that divide an image."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool

from backend.masks.bounds import find_bounds
from backend.masks.prompt import Box, Click, Prompt


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the upright image, in whole image px: `x0_px <= x < x1_px`, `y0_px <= y < y1_px`."""

    x0_px: int
    y0_px: int
    x1_px: int
    y1_px: int

    @property
    def corners_px(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow takes them."""
        return self.x0_px, self.y0_px, self.x1_px, self.y1_px

    def cut(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "ch cw"]:
        """Cut a mask to the crop.

        Args:
            mask: in the frame of the upright image.

        Returns:
            The part of the mask in the crop; a view, not a copy.
        """
        return mask[self.y0_px : self.y1_px, self.x0_px : self.x1_px]

    def prompt(self, prompt: Prompt) -> Prompt:
        """Move a prompt into the crop.

        Args:
            prompt: in image px.

        Returns:
            The prompt in px of the crop, without clicks outside of it, and with its box and mask cut to it.
        """
        width, height = float(self.x1_px - self.x0_px), float(self.y1_px - self.y0_px)
        clicks = tuple(
            Click(x, y, is_foreground=click.is_foreground)
            for click in prompt.clicks
            if 0 <= (x := click.x_px - self.x0_px) <= width and 0 <= (y := click.y_px - self.y0_px) <= height
        )
        box = prompt.box
        inside = None
        if box is not None:
            xs = (min(max(x - self.x0_px, 0.0), width) for x in (box.x0_px, box.x1_px))
            ys = (min(max(y - self.y0_px, 0.0), height) for y in (box.y0_px, box.y1_px))
            (x0, x1), (y0, y1) = xs, ys
            inside = Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
        return Prompt(clicks=clicks, box=inside, mask=None if prompt.mask is None else self.cut(prompt.mask))

    def place(self, mask: Bool[np.ndarray, "ch cw"], *, height_px: int, width_px: int) -> Bool[np.ndarray, "h w"]:
        """Put a mask of the crop into an image of this size; it is False outside the crop."""
        whole = np.zeros((height_px, width_px), np.bool_)
        whole[self.y0_px : self.y1_px, self.x0_px : self.x1_px] = mask
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A part of an image of any size.

    Attributes:
        magnification: the image's sides over the tile's, at least 1.
        across: the share of the image's remaining width that lies left of the tile, in [0, 1].
        down: the share of the image's remaining height that lies above the tile, in [0, 1].
    """

    magnification: float
    across: float
    down: float

    def crop(self, height_px: int, width_px: int) -> Crop:
        """Where the tile lies in an upright image of this size."""
        (x0, x1), (y0, y1) = (
            _span(size, self.magnification, share) for size, share in ((width_px, self.across), (height_px, self.down))
        )
        return Crop(x0, y0, x1, y1)


def list_tiles(magnification: float) -> tuple[Tile, ...]:
    """List the tiles that divide an image, row by row.

    Neighbours overlap by half: at a magnification of 1.5 there are 2 x 2 tiles, at 2 there are 3 x 3. An object that is
    small against a tile therefore lies whole in one of them, with its surroundings.
    """
    count = max(1, round(2 * magnification) - 1)
    shares = np.linspace(0, 1, count).tolist() if count > 1 else [0.5]
    return tuple(Tile(magnification=magnification, across=x, down=y) for y, x in product(shares, shares))


def find_tile(prompt: Prompt, *, height_px: int, width_px: int, magnification: float) -> Tile | None:
    """Find the tile in whose middle a prompt points most nearly.

    Args:
        prompt: in px of an upright image.
        height_px: the image's height.
        width_px: the image's width.
        magnification: of the tiles, above 1.

    Returns:
        The tile; None if it does not contain the whole prompt, with background clicks.
    """
    extent = _extent(prompt)
    x_px, y_px = (extent.x0_px + extent.x1_px) / 2, (extent.y0_px + extent.y1_px) / 2

    def measure_distance(tile: Tile) -> float:
        crop = tile.crop(height_px, width_px)
        return abs(crop.x0_px + crop.x1_px - 2 * x_px) / width_px + abs(crop.y0_px + crop.y1_px - 2 * y_px) / height_px

    nearest = min(list_tiles(magnification), key=measure_distance)
    crop = nearest.crop(height_px, width_px)
    holds = (
        crop.x0_px <= extent.x0_px
        and extent.x1_px <= crop.x1_px
        and crop.y0_px <= extent.y0_px
        and extent.y1_px <= crop.y1_px
    )
    return nearest if holds else None


def _extent(prompt: Prompt) -> Box:
    """The smallest box around all parts of a prompt, in image px."""
    corners = [(click.x_px, click.y_px) for click in prompt.clicks]
    bounds = None if prompt.mask is None else find_bounds(prompt.mask)
    for box in (prompt.box, None if bounds is None else bounds.box):
        corners += [] if box is None else [(box.x0_px, box.y0_px), (box.x1_px, box.y1_px)]
    xs, ys = zip(*corners, strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))


def _span(size_px: int, magnification: float, share: float) -> tuple[int, int]:
    side = max(1, round(size_px / magnification))
    start = round((size_px - side) * share)
    return start, start + side
