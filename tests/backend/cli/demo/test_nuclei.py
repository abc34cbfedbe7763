"""The nuclei that the demo ships: small files, whole masks, a licence beside them, and enough of them held out."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from backend.cli.demo.nuclei import FOLDER, LABEL, NUCLEI, sample_nuclei
from backend.cli.demo.samples import SampleImage
from finetuner.data.sample import picture_hash
from finetuner.data.split import split_images

WAITING = 6  # left to be labelled by hand


@pytest.fixture(scope="module")
def images() -> tuple[SampleImage, ...]:
    return sample_nuclei()


def test_twenty_four_images_under_two_megabytes_come_with_a_licence(images: tuple[SampleImage, ...]) -> None:
    assert len({image.png for image in images}) == len({image.name for image in images}) == 24
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2_000_000
    assert {file.name for file in FOLDER.glob("*.png")} == {image.name for image in images}
    assert "CC0" in (FOLDER / "LICENCE.md").read_text()


def test_every_image_has_the_size_of_its_masks_and_nuclei_that_do_not_overlap(images: tuple[SampleImage, ...]) -> None:
    for image in images:
        picture = Image.open(io.BytesIO(image.png))
        assert picture.size == (image.width_px, image.height_px)
        assert 5 <= len(image.objects) <= 10
        assert {item.label for item in image.objects} == {LABEL} == set(NUCLEI.labels)
        assert all(item.mask.shape == (image.height_px, image.width_px) for item in image.objects)
        assert all(item.mask.any() for item in image.objects)
        assert np.sum([item.mask for item in image.objects], axis=0).max() == 1


@pytest.mark.parametrize("waiting", [2, WAITING])
def test_those_that_wait_for_a_hand_take_nothing_from_the_held_out_ones(
    images: tuple[SampleImage, ...], waiting: int
) -> None:
    """Without any of the four the verdict would be a matter of luck."""
    pictures = {
        hashlib.sha256(image.png).hexdigest(): picture_hash(Image.open(io.BytesIO(image.png)))
        for image in images[:-waiting]
    }
    split = split_images(pictures)
    assert len(split.held_out) == 4
    assert not split.floored
    assert not split.alike
