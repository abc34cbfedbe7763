"""<Vector>, <VectorLabels>: an open line. samloop neither reads nor writes it."""

from backend.labelstudio.controls.shape import Shape

SHAPE = Shape(name="vector", field="vertices")
