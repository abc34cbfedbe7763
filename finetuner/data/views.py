"""Views of an image to learn from: mirrored, turned by quarters, and zoomed, with its masks.

A view moves whole pixels of the original image before any resizing, so the view of a mask is exact. An image has the
same few views in every training, so the disk cache has their embeddings too; random views would pass the encoder in
every step.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from PIL import Image

from finetuner.data.objects import LabelledMask

_LEAST_LEFT = 0.5  # the least visible share of an object's area; people would not recognise less


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view mirrors an image left to right, then turns it counter-clockwise by quarters, then zooms it.

    `extent` is the visible share of each side, from the top left. 0.8 crops the image, so objects are a quarter larger.
    1.25 adds the mean colour on the right and below, as the encoder pads any image, so objects are a fifth smaller.
    """

    is_mirrored: bool = False
    quarter_turns: int = 0
    extent: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether the view leaves the image unchanged."""
        return self == View()

    @property
    def key(self) -> str:
        """The view's name in the keys of cached embeddings; empty for the image as it is."""
        if self.is_identity:
            return ""
        return f"{'mirrored' if self.is_mirrored else 'plain'}-{self.quarter_turns}-{self.extent:g}"

    @property
    def whole(self) -> "View":
        """The same view without zoom."""
        return View(is_mirrored=self.is_mirrored, quarter_turns=self.quarter_turns)

    def size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width of the view of an image of this size, in px, at least 1."""
        height, width = (width_px, height_px) if self.quarter_turns % 2 else (height_px, width_px)
        return max(1, round(height * self.extent)), max(1, round(width * self.extent))

    def image(self, image: Image.Image, *, beyond: tuple[int, int, int]) -> Image.Image:
        """The view of an upright RGB image; `beyond` is the colour past its edge, in [0, 255]."""
        height, width = self.size_px(image.height, image.width)
        if self.is_mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.quarter_turns:
            image = image.transpose(_TURNS[self.quarter_turns])
        seen = Image.new("RGB", (width, height), beyond)
        seen.paste(image, (0, 0))
        return seen

    def mask(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "vh vw"]:
        """The view of a mask; past the image's edge it is False."""
        height, width = self.size_px(*mask.shape)
        turned = self._turn(mask)[:height, :width]
        return np.pad(turned, [(0, height - turned.shape[0]), (0, width - turned.shape[1])])

    def item(self, item: LabelledMask) -> LabelledMask | None:
        """The object in the view, equal to the view of its mask; None if less than half of it stays visible.

        This works on the object's crop alone, which keeps images with a thousand objects cheap.
        """
        (top, left), crop = self._corner(item), self._turn(item.crop)
        height, width = self.size_px(item.height_px, item.width_px)
        seen = crop[: max(0, height - top), : max(0, width - left)]
        if seen.sum() < _LEAST_LEFT * crop.sum():
            return None
        cut = LabelledMask.cut(seen, at=(top, left), size_px=(height, width), label=item.label)
        return replace(cut, region=item.region)

    def _turn(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "th tw"]:
        return np.rot90(mask[:, ::-1] if self.is_mirrored else mask, self.quarter_turns)

    def _corner(self, item: LabelledMask) -> tuple[int, int]:
        """The first row and column of the object's box in the mirrored and turned image."""
        (height, width), (full_height, full_width) = item.crop_shape, (item.height_px, item.width_px)
        top, left = item.bounds.y0_px, item.bounds.x0_px
        if self.is_mirrored:
            left = full_width - left - width
        for _ in range(self.quarter_turns):
            top, left = full_width - left - width, top
            height, width, full_height, full_width = width, height, full_width, full_height
        return top, left


_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
# A training uses the first K of these. For every K, each kind of change occurs in about half of the views.
VIEWS = (
    View(),
    View(is_mirrored=True, quarter_turns=2, extent=1.25),
    View(quarter_turns=2, extent=0.8),
    View(is_mirrored=True, quarter_turns=1),
    View(quarter_turns=1, extent=1.25),
    View(is_mirrored=True),
    View(quarter_turns=3, extent=0.8),
    View(is_mirrored=True, quarter_turns=3, extent=0.8),
)
