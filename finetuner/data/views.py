"""Views of an image to learn from: mirrored, turned by quarters, nearer or farther; masks move with it exactly.

Every view moves whole pixels of the image as it is, before anything is resized: so a mask's view is exact, and no edge
that an annotator drew is redrawn. An image has the same few views in every training, so that their embeddings
are kept on disk as those of the image itself are; drawn anew in every step they would cost the encoder every time.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from PIL import Image

from finetuner.data.objects import LabelledMask

_LEAST_LEFT = 0.5  # of an object's area; of one that is cut off by more, people would not know what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """First mirrored left to right, then turned counter-clockwise by quarters, then nearer or farther.

    `extent` is how much is seen of each side, from the top left: 0.8 is a window, in which things are a quarter larger;
    at 1.25 the mean colour lies right and below, as beyond the edge of any image, and things are a fifth smaller.
    """

    is_mirrored: bool = False
    quarter_turns: int = 0
    extent: float = 1.0

    @property
    def is_identity(self) -> bool:
        """Whether it shows the image as it is."""
        return self == View()

    @property
    def name(self) -> str:
        """What embeddings of it are kept by."""
        return f"{'mirrored' if self.is_mirrored else 'plain'}-{self.quarter_turns}-{self.extent:g}"

    @property
    def whole(self) -> "View":
        """The same, of the whole image."""
        return View(is_mirrored=self.is_mirrored, quarter_turns=self.quarter_turns)

    def size_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Height and width of the view of an image; none is 0."""
        height, width = (width_px, height_px) if self.quarter_turns % 2 else (height_px, width_px)
        return max(1, round(height * self.extent)), max(1, round(width * self.extent))

    def image(self, image: Image.Image, *, beyond: tuple[int, int, int]) -> Image.Image:
        """The view of an upright RGB image; `beyond` is the colour, from 0 to 255, of what lies past its edge."""
        height, width = self.size_px(image.height, image.width)
        if self.is_mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.quarter_turns:
            image = image.transpose(_TURNS[self.quarter_turns])
        seen = Image.new("RGB", (width, height), beyond)
        seen.paste(image, (0, 0))
        return seen

    def mask(self, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "vh vw"]:
        """The view of a mask; nothing lies beyond the image's edge."""
        height, width = self.size_px(*mask.shape)
        turned = self._turn(mask)[:height, :width]
        return np.pad(turned, [(0, height - turned.shape[0]), (0, width - turned.shape[1])])

    def item(self, item: LabelledMask) -> LabelledMask | None:
        """The object in the view, as `mask` has it; None where less than half of it is seen.

        Within the object's box alone: an image of a thousand objects is not drawn a thousand times.
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
        """Where the object's box begins once the image is mirrored and turned: row and column."""
        (height, width), (full_height, full_width) = item.crop_shape, (item.height_px, item.width_px)
        top, left = item.bounds.y0_px, item.bounds.x0_px
        if self.is_mirrored:
            left = full_width - left - width
        for _ in range(self.quarter_turns):
            top, left = full_width - left - width, top
            height, width, full_height, full_width = width, height, full_width, full_height
        return top, left


_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
# The first K of these: of any K each kind of change is in about as many as it is not.
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
