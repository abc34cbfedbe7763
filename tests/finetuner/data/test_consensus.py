"""A majority of annotators, object by object and pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuner.data.consensus import Drawing, majority
from finetuner.data.objects import LabelledMask

HEIGHT, WIDTH = 12, 16


@st.composite
def objects(draw: st.DrawFn) -> LabelledMask:
    """A rectangle and a pixel that is other than it."""
    # Most of them overlap much, so that matching has something to decide.
    y0, x0 = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    y1, x1 = draw(st.integers(8, HEIGHT)), draw(st.integers(9, WIDTH))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    mask[draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))] ^= True
    mask[y0, x0] = True
    return LabelledMask.of(mask, label=draw(st.sampled_from(["A", "B", None])))


# Built into drawings by the tests: beartype looks at a tuple's members at random, which no strategy may.
voters = st.lists(st.tuples(st.lists(objects(), max_size=5), st.integers(1, 2)), min_size=1, max_size=5)


def _drawings(given_: list[tuple[list[LabelledMask], int]]) -> list[Drawing]:
    return [
        Drawing(annotator=f"annotator {number}", objects=tuple(drawn), votes=votes)
        for number, (drawn, votes) in enumerate(given_)
    ]


def _square(y: int, x: int, side: int = 4, label: str | None = "A") -> LabelledMask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + side, x : x + side] = True
    return LabelledMask.of(mask, label=label)


def _of(*drawn: list[LabelledMask]) -> list[Drawing]:
    return [Drawing(annotator=str(number), objects=tuple(objects)) for number, objects in enumerate(drawn)]


def _told(found: tuple[LabelledMask, ...]) -> list[tuple[str, bytes]]:
    return [(repr(item.label), item.mask.tobytes()) for item in found]


@given(st.lists(objects(), max_size=6))
def test_one_annotators_objects_come_out_as_they_went_in(drawn: list[LabelledMask]) -> None:
    found = majority([Drawing(annotator="a", objects=tuple(drawn), votes=2)])
    assert sorted(_told(found.objects)) == sorted(_told(tuple(drawn)))
    assert found.outvoted == 0


@settings(max_examples=60)
@given(voters, st.data())
def test_the_order_of_annotators_and_of_objects_is_nothing(
    voted: list[tuple[list[LabelledMask], int]], data: st.DataObject
) -> None:
    given_ = _drawings(voted)
    shuffled = [
        Drawing(
            annotator=drawing.annotator, votes=drawing.votes, objects=tuple(data.draw(st.permutations(drawing.objects)))
        )
        for drawing in data.draw(st.permutations(given_))
    ]
    first, again = majority(given_), majority(shuffled)
    assert _told(first.objects) == _told(again.objects)
    assert first.outvoted == again.outvoted


@settings(max_examples=60)
@given(voters)
def test_every_pixel_of_an_object_has_more_than_half_of_all_votes(
    voted: list[tuple[list[LabelledMask], int]],
) -> None:
    given_ = _drawings(voted)
    votes = sum(drawing.votes for drawing in given_)
    for agreed in majority(given_).objects:
        have_it = sum(
            drawing.votes * np.any([item.mask for item in drawing.objects if item.label == agreed.label], axis=0)
            for drawing in given_
            if any(item.label == agreed.label for item in drawing.objects)
        )
        assert np.all((have_it * 2 > votes)[agreed.mask])


@settings(max_examples=40)
@given(st.lists(objects(), max_size=4), st.integers(2, 4))
def test_annotators_who_agree_are_one(drawn: list[LabelledMask], annotators: int) -> None:
    found = majority(_of(*[drawn] * annotators))
    assert sorted(_told(found.objects)) == sorted(_told(tuple(drawn)))


def test_of_three_the_pixels_that_two_drew_stay() -> None:
    drawn = [_square(2, 2), _square(2, 3), _square(3, 2)]
    found = majority(_of(*[[item] for item in drawn]))
    (agreed,) = found.objects
    assert np.array_equal(agreed.mask, np.sum([item.mask for item in drawn], axis=0) >= 2)


def test_of_two_what_both_drew_stays() -> None:
    (agreed,) = majority(_of([_square(2, 2)], [_square(2, 3)])).objects
    assert np.array_equal(agreed.mask, _square(2, 2).mask & _square(2, 3).mask)


def test_objects_are_matched_by_label_and_overlap() -> None:
    nobodys = majority(_of([_square(2, 2)], [_square(2, 2, label="B")], [_square(2, 8)]))
    assert nobodys.objects == ()
    assert nobodys.outvoted == 3


def test_neighbours_are_not_merged() -> None:
    found = majority(_of([_square(2, 2), _square(2, 6)], [_square(2, 2), _square(2, 6)], [_square(3, 6)]))
    assert _told(found.objects) == _told((_square(2, 2), _square(2, 6)))


def test_who_drew_nothing_votes_against() -> None:
    assert majority(_of([_square(2, 2)], [])).outvoted == 1
    assert len(majority(_of([_square(2, 2)], [_square(2, 2)], [])).objects) == 1


def test_what_is_left_of_an_object_may_be_too_small_to_be_one() -> None:
    given_ = _of([_square(2, 2, 2)], [_square(2, 2, 2)], [_square(2, 2, 2)])
    assert majority(given_, min_object_px=4).outvoted == 0
    assert majority(given_, min_object_px=5).outvoted == 1


def test_an_annotator_votes_once() -> None:
    twice = [Drawing(annotator="a", objects=()), Drawing(annotator="a", objects=())]
    with pytest.raises(ValueError, match="pass one drawing per annotator"):
        majority(twice)
