"""A training's losses, as a late visitor sees them: whole, thin, and never of two kinds in one curve."""

import itertools
import json

import pytest
from pydantic import JsonValue

from backend.work.losses import MOST_POINTS, LossCurves, read_losses


def test_the_semantic_heads_losses_are_a_curve_of_their_own() -> None:
    curves = LossCurves()
    curves.note({"phase": "training", "step": 1, "loss": 0.5})
    curves.note({"phase": "training", "step": 1, "loss": 2.0, "head": "semantic"})
    curves.note({"phase": "evaluating", "done": 1, "total": 2})
    curves.note({"phase": "training", "step": 2, "loss": None})
    assert curves.to_json() == {"prompts": [[1.0, 0.5]], "semantic head": [[1.0, 2.0]]}


def test_a_long_training_keeps_its_first_point_its_course_and_few_points() -> None:
    curves = LossCurves()
    for step in range(5000):
        curves.note({"step": step, "loss": 1.0 / (1 + step)})
    steps = [step for step, _ in curves.to_json()["prompts"]]
    assert len(steps) <= MOST_POINTS
    assert steps[0] == 0
    assert steps[-1] > 4900
    gaps = {later - earlier for earlier, later in itertools.pairwise(steps)}
    assert len(gaps) == 1, "points lie evenly"


def test_the_next_training_of_a_cross_validation_begins_anew() -> None:
    curves = LossCurves()
    curves.note({"step": 9, "loss": 0.1, "training": 1, "trainings": 3})
    curves.note({"step": 1, "loss": 0.6, "training": 2, "trainings": 3})
    assert curves.to_json() == {"prompts": [[1.0, 0.6]]}


def test_the_long_training_after_a_first_version_begins_anew() -> None:
    curves = LossCurves()
    for figures in ({"part": "first version", "step": 200, "loss": 0.2}, {"step": 1, "loss": 0.5}):
        curves.note({"phase": "training", "training": 1, **figures})
    assert curves.to_json() == {"prompts": [[1.0, 0.5]]}


def test_what_is_written_is_read_again() -> None:
    curves = LossCurves()
    curves.note({"step": 1, "loss": 0.5})
    assert read_losses(json.loads(json.dumps(curves.to_json()))) == {"prompts": ((1.0, 0.5),)}


@pytest.mark.parametrize(
    "told", [None, [], {"prompts": 3}, {"prompts": [[1], ["a", 2], None, [1, None]]}, {"<b>": [[1, 2]]}]
)
def test_what_anybody_else_wrote_into_redis_is_no_curve(told: JsonValue) -> None:
    assert not any(read_losses(told).values())
