"""Which of SAM's masks answers one click."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.masks.prompt import Box, Click, Prompt
from backend.sam.policy import LARGE, SINGLE, SMALL, ClickPolicy, consider, policy_of

ROWS, COLUMNS = 30, 40  # of the grid, that the image reaches


@dataclass(frozen=True)
class Shown:
    """A reading that covers the first `rows` rows of the image, and a score."""

    rows: int
    score: float = 0.5

    @property
    def logits(self) -> torch.Tensor:
        logits = torch.full((64, 64), -1.0)
        logits[: self.rows] = 1.0
        return logits


def takes_small(policy: ClickPolicy, single: Shown, small: Shown, large: Shown) -> bool:
    (answer,) = policy.takes_small([(single, small, large)], rows=ROWS, columns=COLUMNS)
    return answer


def test_where_the_large_reading_is_the_whole_picture_the_small_one_is_the_object() -> None:
    single, small = Shown(12), Shown(5)
    assert takes_small(ClickPolicy.BY_CONTEXT, single, small, Shown(ROWS))
    assert takes_small(ClickPolicy.BY_CONTEXT, single, small, Shown(64)), "what lies beyond the image does not count"


def test_where_the_large_reading_is_an_object_the_small_one_is_a_part_of_it() -> None:
    assert not takes_small(ClickPolicy.BY_CONTEXT, Shown(12), Shown(5), Shown(20))


def test_where_both_agree_the_small_reading_answers_whatever_the_large_one_shows() -> None:
    assert takes_small(ClickPolicy.BY_CONTEXT, Shown(10), Shown(9), Shown(12))


def test_readings_without_a_pixel_get_the_single_mask() -> None:
    assert not takes_small(ClickPolicy.BY_CONTEXT, Shown(0), Shown(0), Shown(0))


@given(score=st.floats(0, 1), rival=st.floats(0, 1))
def test_by_score_the_higher_score_wins_and_the_single_mask_of_equals(score: float, rival: float) -> None:
    assert takes_small(ClickPolicy.BY_SCORE, Shown(9, score), Shown(5, rival), Shown(20)) == (rival > score)


@pytest.mark.parametrize(("policy", "expected"), [(ClickPolicy.ALWAYS_SINGLE, False), (ClickPolicy.ALWAYS_SMALL, True)])
def test_a_fixed_policy_looks_at_nothing(policy: ClickPolicy, expected: bool) -> None:
    rng = np.random.default_rng(0)
    for single, small, large in rng.integers(0, 64, (20, 3)):
        assert takes_small(policy, Shown(int(single)), Shown(int(small)), Shown(int(large))) is expected


def test_one_click_on_an_object_is_ambiguous_and_nothing_else_is() -> None:
    click, box = Click(3.0, 4.0), Box(0.0, 0.0, 9.0, 9.0)
    assert consider(Prompt(clicks=(click,))) == (SINGLE, SMALL, LARGE)
    for clear in (
        Prompt(clicks=(click, click)),
        Prompt(box=box),
        Prompt(clicks=(click,), box=box),
        Prompt(clicks=(Click(3.0, 4.0, is_foreground=False),)),
        Prompt(clicks=(click,), mask=np.ones((9, 9), bool)),
    ):
        assert consider(clear) == (SINGLE,)


def test_a_manifest_names_the_policy_and_one_of_before_keeps_the_scores() -> None:
    for policy in ClickPolicy:
        assert policy_of(policy.value) is policy
    assert policy_of(None) is policy_of("a policy of a later version") is ClickPolicy.BY_SCORE
