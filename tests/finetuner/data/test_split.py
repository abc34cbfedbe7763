"""Which images are held out, and that they stay where they are."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuner.data.split import Split, rank, split_images

SHARE = 0.2
pictures = st.integers(0, 99).map(lambda number: f"{number:016x}")
images = st.dictionaries(
    st.binary(min_size=1, max_size=4).map(lambda data: hashlib.sha256(data).hexdigest()), pictures, max_size=40
)


def _distinct(count: int, *, first: int = 0) -> dict[str, str]:
    """So many images of as many pictures."""
    return {hashlib.sha256(bytes([number])).hexdigest(): f"{number:016x}" for number in range(first, first + count)}


def _shown(given_: dict[str, str]) -> int:
    return len(set(given_.values()))


@given(images)
def test_no_fold_measures_what_it_learns_from_and_every_fold_does_both(given_: dict[str, str]) -> None:
    split = split_images(given_)
    assert bool(split.folds) == (len(given_) >= 2)
    for fold in split.folds:
        assert set(fold.train) | set(fold.held_out) == set(given_)
        assert not set(fold.train) & set(fold.held_out)
        assert fold.train
        assert fold.held_out


@given(images, st.data())
def test_the_order_of_images_is_nothing(given_: dict[str, str], data: st.DataObject) -> None:
    assert split_images(given_) == split_images(dict(data.draw(st.permutations(list(given_.items())))))


@given(images)
def test_near_duplicates_are_on_one_side(given_: dict[str, str]) -> None:
    split = split_images(given_)
    for fold in split.folds if _shown(given_) > 1 else ():
        assert not {given_[digest] for digest in fold.train} & {given_[digest] for digest in fold.held_out}
    assert sorted(map(len, split.alike)) == sorted(
        count for count in map(list(given_.values()).count, set(given_.values())) if count > 1
    )


@given(images, images)
def test_for_ever_more_images_bring_no_image_below_the_threshold_to_the_other_side(
    before: dict[str, str], added: dict[str, str]
) -> None:
    if _shown(before) < 8:
        return  # cross-validated: every image is on both sides
    first, later = split_images(before), split_images(added | before)
    assert {digest for digest in first.held_out if rank(before[digest]) < SHARE} <= set(later.held_out)
    if any(rank(picture) >= SHARE for picture in before.values()):
        assert not set(first.train) & set(later.held_out)


@pytest.mark.parametrize("is_held_out", [True, False])
def test_a_near_duplicate_that_comes_later_goes_where_its_picture_is(is_held_out: bool) -> None:
    first = _distinct(20)
    split = split_images(first)
    side = split.held_out if is_held_out else split.train
    known = next(picture for picture in side if (rank(first[picture]) < SHARE) == is_held_out)
    # Of many copies some have a digest below any threshold, and some above.
    copies = {hashlib.sha256(b"copy %d" % number).hexdigest(): first[known] for number in range(50)}
    later = split_images(first | copies)
    assert {known, *copies} <= set(later.held_out if is_held_out else later.train)
    assert later.alike == (tuple(sorted({known, *copies})),)
    assert "51 near-duplicates stay together in 1 group" in later.describe()


def test_about_a_fifth_of_many_pictures_is_held_out() -> None:
    split = split_images({f"{number:064x}": f"{number:016x}" for number in range(2000)}, share=SHARE)
    assert 350 < len(split.held_out) < 450
    assert split.floored == ()
    assert not split.is_cross_validated


@pytest.mark.parametrize("count", range(2, 8))
def test_below_eight_pictures_every_image_is_held_out_once_and_all_are_learnt_from(count: int) -> None:
    given_ = _distinct(count)
    split = split_images(given_)
    assert split.is_cross_validated
    assert [len(fold.held_out) for fold in split.folds] == [1] * count
    assert split.held_out == split.train == tuple(sorted(given_))
    assert f"cross-validated in {count} folds: every one of {count} images" in split.describe()
    assert "has learnt from all" in split.describe()


def test_more_pictures_than_folds_share_them() -> None:
    split = split_images(_distinct(7), most_folds=3)
    assert sorted(len(fold.held_out) for fold in split.folds) == [2, 2, 3]
    assert split.held_out == tuple(sorted(_distinct(7)))


def test_copies_of_a_picture_make_no_project_large() -> None:
    copies = {hashlib.sha256(b"%d" % number).hexdigest(): f"{number % 5:016x}" for number in range(30)}
    split = split_images(copies)
    assert [len(fold.held_out) for fold in split.folds] == [6] * 5


def test_from_eight_pictures_on_two_are_held_out_at_least_and_it_says_why() -> None:
    above = {f"{number:064x}": f"{number:016x}" for number in range(200) if rank(f"{number:016x}") >= SHARE}
    split = split_images(dict(list(above.items())[:8]))
    assert (len(split.train), len(split.held_out), split.floored) == (6, 2, split.held_out)
    assert "2 of them only because too few are below the threshold" in split.describe()


def test_where_all_lie_below_the_threshold_one_is_left_to_learn_from() -> None:
    below = {f"{number:064x}": f"{number:016x}" for number in range(200) if rank(f"{number:016x}") < SHARE}
    split = split_images(below)
    assert (len(split.train), len(split.held_out)) == (1, len(below) - 1)


def test_images_that_all_look_alike_are_split_one_by_one_and_it_says_what_that_is_worth() -> None:
    split = split_images({f"{number:064x}": "0" * 16 for number in range(40)})
    assert split.is_one_picture
    assert len(split.folds) == 1
    assert 1 < len(split.held_out) < 20
    assert "all are near-duplicates, so the figures say little about other pictures" in split.describe()


@pytest.mark.parametrize("count", [0, 1])
def test_there_is_nothing_to_hold_out_of_one_image(count: int) -> None:
    split = split_images(_distinct(count))
    assert split == Split(folds=())
    assert (split.train, split.held_out) == ((), ())
