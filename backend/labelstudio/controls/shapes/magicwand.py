"""<MagicWand>: a mask that the editor fills from similar colours, written as a brush mask is."""

from backend.labelstudio.controls.shape import Shape
from backend.labelstudio.controls.shapes import brush

# No stroke: the editor has no smart magic wand, so its regions are masks.
SHAPE = Shape(
    name="magicwand",
    field=brush.SHAPE.field,
    read=brush.SHAPE.read,
    write=brush.SHAPE.write,
    detail_rank=brush.SHAPE.detail_rank,
    is_mask=True,
    is_scalable=False,
)
