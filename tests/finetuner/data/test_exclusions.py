"""What is left out is counted by reason, with the first places as examples."""

import logging

import pytest

from backend.registry.metrics import Exclusion
from finetuner.data.exclusions import Exclusions


def test_the_most_frequent_reason_comes_first_and_keeps_five_places() -> None:
    exclusions = Exclusions()
    exclusions.add("only a draft", task=1)
    for task in range(7):
        exclusions.add("an empty mask", task=task, region=f"r{task}")
    exclusions.add("outvoted", count=3, task=2)
    assert len(exclusions) == 1 + 7 + 3
    assert exclusions.by_reason() == (
        Exclusion(
            reason="an empty mask", count=7, examples=tuple({"task": task, "region": f"r{task}"} for task in range(5))
        ),
        Exclusion(reason="outvoted", count=3, examples=({"task": 2},)),
        Exclusion(reason="only a draft", count=1, examples=({"task": 1},)),
    )
    assert exclusions.by_reason()[1].to_json() == {
        "reason": "outvoted",
        "count": 3,
        "examples": [{"task": 2}],
    }


def test_the_sentence_tells_three_reasons_and_why_the_first_place_failed() -> None:
    exclusions = Exclusions()
    assert exclusions.sentence() == "nothing was left out"
    exclusions.add("its image cannot be used", count=4, task=3, why="404")
    for count, reason in ((3, "b"), (2, "c"), (1, "d")):
        exclusions.add(reason, count=count)
    assert exclusions.sentence() == "4 x its image cannot be used (404); 3 x b; 2 x c"


def test_every_place_is_logged_with_its_ids(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Exclusions().add("an empty mask", task=5, annotation=None, region="r", why="no pixel")
    assert caplog.messages == ["left out: an empty mask (task 5, region r, no pixel)"]
