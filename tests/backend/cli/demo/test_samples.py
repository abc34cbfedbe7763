"""A set of samples names its labels in the order of the labelling interface."""

from backend.cli.demo.samples import SampleSet


def test_labels_come_in_the_order_of_their_colours() -> None:
    colours = {"Leaf": "#0a0", "Bark": "#730"}
    sample = SampleSet(title="trees", label_colours=colours, object_noun="a leaf", read=tuple)
    assert sample.labels == ("Leaf", "Bark")
