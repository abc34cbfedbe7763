"""A vector is known, so that its control is parsed, and used for nothing."""

from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.controls.shapes.vector import SHAPE


def test_a_vector_is_neither_a_mask_nor_a_prompt() -> None:
    assert (SHAPE.read, SHAPE.write, SHAPE.point) == (None, None, None)
    assert region_of({"type": "vectorlabels", "value": {"vertices": []}}).shape is SHAPE
