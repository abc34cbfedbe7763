"""A sample in a view shows what is left of its objects, and never nothing; near-duplicates share the hash."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finetuner.data.objects import LabelledMask
from finetuner.data.sample import Sample, picture_hash
from finetuner.data.views import View


def test_a_window_that_shows_no_object_is_not_looked_through() -> None:
    mask = np.zeros((20, 20), bool)
    mask[18:, 18:] = True
    sample = Sample(image_sha256="0" * 64, height_px=20, width_px=20, objects=(LabelledMask.of(mask, label=None),))
    assert sample.apply_view(View(quarter_turns=2, extent=0.8)).view.extent == 0.8
    assert sample.apply_view(View(is_mirrored=True, extent=0.8)).view == View(is_mirrored=True)


def test_a_view_from_the_side_swaps_height_and_width_and_keeps_where_it_came_from() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:6, 3:9] = True
    item = LabelledMask.of(mask, label="Disc")
    sample = Sample(image_sha256="0" * 64, height_px=20, width_px=30, objects=(item,), task_id=7)
    seen = sample.apply_view(View(quarter_turns=1))
    assert (seen.height_px, seen.width_px, seen.task_id) == (30, 20, 7)
    assert seen.objects[0].area_px == item.area_px
    assert seen.objects[0].label == "Disc"


def _scene(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).choice([10, 200], (8, 8)).astype(np.uint8)
    return Image.fromarray(np.kron(cells, np.ones((16, 16), np.uint8))).convert("RGB")


@given(st.integers(0, 10_000), st.sampled_from([60, 85, 95]), st.sampled_from([64, 100, 256]))
def test_a_picture_that_is_saved_anew_or_scaled_keeps_its_hash(seed: int, quality: int, side_px: int) -> None:
    file = io.BytesIO()
    _scene(seed).resize((side_px, side_px), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    assert picture_hash(Image.open(file)) == picture_hash(_scene(seed))


def test_the_hash_is_a_bit_a_cell_row_by_row() -> None:
    pixels = np.zeros((80, 80), np.uint8)
    pixels[:10] = 255
    pixels[70:, 70:] = 255
    assert picture_hash(Image.fromarray(pixels).convert("RGB")) == "ff00000000000001"


def test_a_plain_picture_has_no_bit_whatever_its_grey() -> None:
    for grey in (0, 1, 127, 255):
        assert picture_hash(Image.new("RGB", (33, 47), (grey,) * 3)) == "0" * 16


@given(st.integers(0, 1000))
def test_a_plain_picture_with_noise_is_a_plain_picture(seed: int) -> None:
    pixels = 100 + np.random.default_rng(seed).integers(-2, 3, (96, 96))
    assert picture_hash(Image.fromarray(pixels.astype(np.uint8)).convert("RGB")) == "0" * 16


def test_other_discs_have_another_hash(discs: Callable[..., tuple[Image.Image, list[np.ndarray]]]) -> None:
    assert len({picture_hash(discs(seed)[0]) for seed in range(8)}) == 8


@pytest.mark.nuclei
def test_no_two_real_images_are_taken_for_one_and_most_survive_a_jpeg(nuclei_dir: Path) -> None:
    images = [Image.open(path).convert("RGB") for path in sorted((nuclei_dir / "images").glob("*.png"))]
    hashes = [picture_hash(image) for image in images]
    assert len(set(hashes)) == 40
    survived = 0
    for image, known in zip(images, hashes, strict=True):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95)
        survived += picture_hash(Image.open(file)) == known
    assert survived >= 38
