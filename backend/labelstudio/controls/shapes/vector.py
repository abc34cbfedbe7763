"""<Vector>, <VectorLabels>: an open line, which samloop neither reads nor writes."""

from backend.labelstudio.controls.shape import Shape

SHAPE = Shape(name="vector", field="vertices")
