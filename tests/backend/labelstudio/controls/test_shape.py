"""A shape names the types of its regions."""

from backend.labelstudio.controls.shape import Shape


def test_the_types_of_a_shape_are_its_name_with_labels_and_without() -> None:
    assert Shape(name="brush", field="rle").kinds == ("brushlabels", "brush")
