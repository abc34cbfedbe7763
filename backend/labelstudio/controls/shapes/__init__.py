"""One file a shape. To add a shape, put its file here; nothing else needs a change.

brush      a mask in Label Studio's run-length code
magicwand  the same, drawn by the magic wand
bitmask    a mask as a PNG in a data: URL
polygon    an outline in per cent of the image
ellipse    centre and radii, turned about the centre
rectangle  a corner and two sides, turned about the corner
keypoint   a click: a prompt, never a mask
vector     a line, whose inside is a mask if it is closed; it is never written
"""

import math
import pkgutil
from importlib import import_module

from backend.labelstudio.controls.shape import Shape, Value


def load_shapes() -> dict[str, Shape]:
    """Return the `SHAPE` of every module in this folder, by name.

    Shapes that can be written come first, the most faithful at the head. Labelling interfaces, prompts, batches,
    exports and trainings ask the shapes themselves, so no other table of shapes exists.
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    shapes: list[Shape] = [module.SHAPE for module in modules]
    shapes.sort(key=lambda shape: (shape.write is None, shape.detail_rank, shape.name))
    return {shape.name: shape for shape in shapes}


SHAPES = load_shapes()


def shape_of_kind(kind: object) -> Shape | None:
    """Return the shape of a tag's name in small letters, or of a region's type; None if it draws nothing."""
    return SHAPES.get(kind.removesuffix("labels")) if isinstance(kind, str) else None


def shape_of_value(value: Value, *, named: Shape | None) -> Shape | None:
    """Return what a region's value draws: a mask before anything else.

    Programs that fill in every key write null, or NaN, for a shape that the region is not.

    Args:
        value: the region's `value`.
        named: the shape that the region's type names. It decides where the value may be several, or none of them.
    """
    able = [shape for shape in SHAPES.values() if _is_given(value.get(shape.field))]
    able = [shape for shape in able if shape.is_mask] or able
    return named if named in able else next(iter(able), named)


def _is_given(drawn: object) -> bool:
    return drawn is not None and not (isinstance(drawn, float) and math.isnan(drawn))


def is_drawing(kind: str) -> bool:
    """Whether a tag of this name, in small letters, draws on the image."""
    shape = shape_of_kind(kind)
    return shape is not None and kind in shape.kinds
