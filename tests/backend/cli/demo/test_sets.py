"""Every set of samples has what the story needs: images, labels of its own, and a title that tells it apart."""

from typing import get_args

import pytest

from backend.cli.demo.command import SampleName
from backend.cli.demo.sets import SETS


def test_every_name_of_the_command_line_has_its_set() -> None:
    assert set(SETS) == set(get_args(SampleName))
    assert len({sample.title for sample in SETS.values()}) == len(SETS)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_set_holds_enough_images_under_its_own_labels(name: SampleName) -> None:
    sample = SETS[name]
    images = sample.read()
    assert len(images) >= 20
    assert {item.label for image in images for item in image.objects} == set(sample.labels)
