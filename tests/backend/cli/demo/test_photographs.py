"""The sample photographs: enough of them, tight masks, and no object on two."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from backend.cli.demo.photographs import PHOTOGRAPHS, sample_photographs
from backend.cli.demo.samples import SampleImage
from backend.errors import Unavailable
from finetuner.data.sample import picture_hash
from finetuner.data.split import split_images


@pytest.fixture(scope="module")
def photographs() -> tuple[SampleImage, ...]:
    return sample_photographs()


def test_every_photograph_is_a_png_of_its_size_with_several_objects_that_do_not_overlap(
    photographs: tuple[SampleImage, ...],
) -> None:
    for photograph in photographs:
        image = Image.open(io.BytesIO(photograph.png))
        assert image.format == "PNG"
        assert image.size == (photograph.width_px, photograph.height_px)
        assert len(photograph.objects) >= 2
        assert {shown.label for shown in photograph.objects} <= set(PHOTOGRAPHS.labels)
        covered = np.sum([shown.mask for shown in photograph.objects], axis=0)
        assert covered.shape == (photograph.height_px, photograph.width_px)
        assert covered.max() == 1


def test_there_are_twenty_photographs_under_different_names_and_the_last_ones_are_of_both_kinds(
    photographs: tuple[SampleImage, ...],
) -> None:
    assert (
        len({photograph.name for photograph in photographs})
        == len({photograph.png for photograph in photographs})
        == 20
    )
    assert {shown.label for photograph in photographs[-2:] for shown in photograph.objects} == set(PHOTOGRAPHS.labels)


def test_no_strip_of_a_photograph_is_seen_on_another(photographs: tuple[SampleImage, ...]) -> None:
    """Cut without overlap: whole rows of pixels would otherwise come twice."""
    strips = [
        tile.tobytes()
        for photograph in photographs
        for tile in np.asarray(Image.open(io.BytesIO(photograph.png)))[::24, :64]
    ]
    assert len(set(strips)) == len(strips)


def test_every_mask_is_one_piece_without_holes_and_ends_where_the_picture_changes(
    photographs: tuple[SampleImage, ...],
) -> None:
    """A mask grown or shrunk by 3 px has a weaker edge under its outline: the outline lies on the object's own edge."""
    strengths: dict[str, list[float]] = {"on": [], "inside": [], "outside": []}
    for photograph in photographs:
        grey = np.asarray(Image.open(io.BytesIO(photograph.png)), dtype=float)
        edge = ndimage.gaussian_gradient_magnitude(grey, 1.5)
        for shown in photograph.objects:
            _, pieces = ndimage.label(shown.mask)
            assert pieces == 1
            assert (ndimage.binary_fill_holes(shown.mask) == shown.mask).mean() > 0.999
            for where, steps in (("inside", -5), ("on", 0), ("outside", 5)):
                strengths[where].append(float(edge[_outline(shown.mask, steps)].mean()))
    on, inside, outside = (np.array(strengths[where]) for where in ("on", "inside", "outside"))
    assert np.mean(on > inside) > 0.95
    assert np.mean(on > outside) > 0.9


def _outline(mask: np.ndarray, steps: int) -> np.ndarray:
    """The inner outline of a mask moved by so many pixels, the photograph's rim left out."""
    if steps:
        moved = ndimage.binary_dilation if steps > 0 else ndimage.binary_erosion
        mask = moved(mask, iterations=abs(steps))
    line = mask & ~ndimage.binary_erosion(mask)
    line[:4], line[-4:], line[:, :4], line[:, -4:] = False, False, False, False
    return line


def test_the_split_holds_out_coins_and_bricks(photographs: tuple[SampleImage, ...]) -> None:
    names = {hashlib.sha256(photograph.png).hexdigest(): photograph.name for photograph in photographs}
    pictures = {
        digest: picture_hash(Image.open(io.BytesIO(photograph.png)))
        for digest, photograph in zip(names, photographs, strict=True)
    }
    held_out = [names[digest] for digest in split_images(pictures).held_out]
    assert 3 <= len(held_out) <= 7
    assert {name.split("-")[0] for name in held_out} == {"coins", "bricks"}


def test_without_scikit_image_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("backend.cli.demo.photographs.resources.files", missing)
    with pytest.raises(Unavailable, match=r"pip install scikit-image"):
        sample_photographs()
