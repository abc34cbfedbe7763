"""<KeyPoint>, <KeyPointLabels>: a click, in per cent of the image. It is a prompt and never a mask."""

from backend.labelstudio.controls.frame import place_px
from backend.labelstudio.controls.shape import Pointing, Shape, Size, Value
from backend.masks.prompt import Click


def _point(value: Value, size: Size, *, is_foreground: bool) -> Pointing:
    x_px, y_px = place_px(value, size)
    return Pointing(clicks=(Click(x_px, y_px, is_foreground=is_foreground),))


SHAPE = Shape(name="keypoint", field="x", point=_point)
