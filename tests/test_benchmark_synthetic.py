"""A semantic head of real weights tells four labels apart, after a training short enough for a test."""

import numpy as np
import pytest
from benchmarks.shapes import shapes
from benchmarks.synthetic import measured


@pytest.mark.long
@pytest.mark.weights
def test_of_a_dozen_pictures_it_learns_to_find_four_labels_on_pictures_that_it_never_saw() -> None:
    """docs/results.md has the figure of the whole benchmark: eight times as many images, and more steps."""
    report = measured(15, steps=60)
    assert set(report.labels) == {"Disc", "Square", "Star", "Triangle"}
    assert report.mean.iou > 0.65
    assert min(figures.iou for figures in report.labels.values()) > 0.4


def test_every_picture_has_all_labels_once_or_twice_and_none_upon_another() -> None:
    for picture in shapes(6):
        labels = [label for label, _ in picture.objects]
        assert set(labels) <= {"Disc", "Square", "Star", "Triangle"}
        assert 3 <= len(labels) <= 5
        assert np.sum([mask for _, mask in picture.objects], axis=0).max() == 1


def test_the_same_seed_draws_the_same_pictures_and_another_others() -> None:
    first, again, other = (next(shapes(1, seed=seed)).image.tobytes() for seed in (0, 0, 1))
    assert first == again != other
