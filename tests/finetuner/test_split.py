"""Which images are held out, and that they stay where they are."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.split import rank, split_images

digests = st.binary(min_size=1, max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())


@given(st.lists(digests, min_size=2, max_size=60), st.data())
def test_every_image_is_on_one_side_and_both_sides_hold_one(images: list[str], data: st.DataObject) -> None:
    split = split_images(images)
    assert set(split.train) | set(split.held_out) == set(images)
    assert not set(split.train) & set(split.held_out)
    assert split == split_images(data.draw(st.permutations(images)))
    if len(set(images)) > 1:
        assert split.train
        assert split.held_out


@given(st.lists(digests, max_size=40), st.lists(digests, max_size=40))
def test_more_images_never_bring_a_held_out_one_below_the_threshold_to_the_other_side(
    before: list[str], added: list[str]
) -> None:
    first, later = split_images(before), split_images(before + added)
    by_threshold = {image for image in first.held_out if rank(image) < 0.2}
    assert by_threshold <= set(later.held_out)


@given(st.lists(digests, min_size=5, max_size=40, unique=True), st.lists(digests, max_size=20))
def test_more_images_never_hold_out_what_was_learnt_from(before: list[str], added: list[str]) -> None:
    first, later = split_images(before), split_images(before + added)
    if not all(rank(image) < 0.2 for image in before):
        assert not set(first.train) & set(later.held_out)


def test_about_a_fifth_of_many_images_is_held_out() -> None:
    split = split_images(hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000))
    assert 350 < len(split.held_out) < 450
    assert split.floored == ()


@pytest.mark.parametrize(("images", "held_out"), [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (12, 2)])
def test_a_small_project_still_has_images_to_measure_on_and_says_so(images: int, held_out: int) -> None:
    split = split_images(f"{15 - place % 12:x}{place:063x}" for place in range(images))
    assert len(split.held_out) == held_out
    assert len(split.floored) == held_out
    assert ("too few below the threshold" in split.describe()) == bool(held_out)


def test_where_all_lie_below_the_threshold_one_is_left_to_learn_from() -> None:
    split = split_images(f"0{place:063x}" for place in range(3))
    assert (len(split.train), len(split.held_out)) == (1, 2)
