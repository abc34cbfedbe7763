"""An annotated image, ready to learn from, and how it is seen."""

from dataclasses import dataclass, replace

from finetuner.data.objects import LabelledMask
from finetuner.data.views import View

_AS_IT_IS = View()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """One annotated image: the digest of its bytes, its upright size, and at least one object.

    `picture` is what near-duplicates share (fingerprint); "" where that is not known. `is_ground_truth`: an annotation
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

    def viewed(self, view: View) -> "Sample":
        """The whole image in that view, and what is seen of its objects; the whole of it if that is too little."""
        objects = tuple(seen for item in self.objects if (seen := view.item(item)) is not None)
        if not objects and view.extent < 1:
            return self.viewed(view.whole)
        height, width = view.size_px(self.height_px, self.width_px)
        return replace(self, objects=objects, height_px=height, width_px=width, view=view)
