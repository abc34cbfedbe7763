"""Which tasks come first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.cli.order.choice import choose_diverse, draw_at_random, mix_in_random


def blobs(*sizes: int) -> np.ndarray:
    """Rows in clumps far apart, around a mean that they share, as embeddings do."""
    rng = np.random.default_rng(0)
    centres = 5 * np.eye(8)[: len(sizes)]
    rows = [centre + 0.05 * rng.normal(size=(size, 8)) for centre, size in zip(centres, sizes, strict=True)]
    return 100.0 + np.concatenate(rows)


@pytest.mark.parametrize("seed", range(5))
def test_one_of_each_kind_comes_before_a_second_one_of_any(seed: int) -> None:
    features = blobs(20, 3, 7, 10)
    kinds = np.repeat(np.arange(4), (20, 3, 7, 10))
    assert [kinds[row] for row in choose_diverse(features, count=4, seed=seed)] == [0, 3, 2, 1], (
        "the largest kind first"
    )


def test_all_are_taken_where_there_are_few() -> None:
    assert choose_diverse(blobs(2, 1), count=5) == (0, 1, 2)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 30), count=st.integers(1, 12), same=st.booleans(), seed=st.integers(0, 3))
def test_as_many_as_were_asked_for_and_none_twice(rows: int, count: int, same: bool, seed: int) -> None:
    """Also of images that are all alike, of which k-means makes empty clusters."""
    features = np.ones((rows, 4)) if same else np.random.default_rng(seed).normal(size=(rows, 4))
    found = choose_diverse(features, count=count, seed=seed)
    assert len(found) == len(set(found)) == min(rows, count)
    assert set(found) <= set(range(rows))


def test_what_is_drawn_at_random_stays_until_it_is_labelled() -> None:
    drawn = draw_at_random(range(1000), project_id=1, count=20)
    assert draw_at_random(set(range(1000)) - {drawn[0]}, project_id=1, count=19) == drawn[1:]
    assert draw_at_random(range(1000), project_id=2, count=20) != drawn
    assert 300 < np.mean(draw_at_random(range(1000), project_id=1, count=200)) < 700


def test_every_tenth_place_is_drawn_at_random() -> None:
    found = mix_in_random(range(100), range(500, 600), count=30)
    assert [task_id for task_id in found if task_id >= 500] == [500, 501, 502]
    assert [found.index(task_id) for task_id in (500, 501, 502)] == [9, 19, 29]


@given(
    first=st.lists(st.integers(0, 40), unique=True),
    random=st.lists(st.integers(0, 40), unique=True),
    count=st.integers(1, 60),
)
def test_the_mix_holds_each_task_once_and_all_where_there_is_room(
    first: list[int], random: list[int], count: int
) -> None:
    found = mix_in_random(first, random, count=count)
    assert len(found) == len(set(found)) == min(count, len({*first, *random}))
