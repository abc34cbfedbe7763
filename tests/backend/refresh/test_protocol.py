"""What the backend answers for a task is read strictly, and written as Label Studio imports it."""

import pytest

from backend.errors import Upstream
from backend.refresh.protocol import OUT_OF_TIME, Answer

REGION = {"id": "r", "type": "brushlabels", "value": {"rle": [1]}}
PREDICTION = {"result": [REGION], "score": 0.5, "model_version": "v1"}


def test_a_prediction_becomes_a_row_of_an_import() -> None:
    answer = Answer.from_json(PREDICTION)
    assert (answer.model_version, answer.score, answer.regions, answer.why) == ("v1", 0.5, (REGION,), None)
    assert answer.row(7) == {"task": 7, **PREDICTION}


@pytest.mark.parametrize(("why", "is_late"), [(OUT_OF_TIME, True), ("the host cannot be reached", False)])
def test_a_task_that_was_not_looked_at_says_why(why: str, *, is_late: bool) -> None:
    answer = Answer.from_json({"result": [], "score": 0.0, "model_version": "v1", "why": why})
    assert (answer.why, answer.is_late) == (why, is_late)


@pytest.mark.parametrize(
    "told", [None, [], "x", {}, PREDICTION | {"score": "high"}, PREDICTION | {"result": {}}, {"result": [], "score": 0}]
)
def test_something_else_than_a_prediction_names_the_setting(told: object) -> None:
    with pytest.raises(Upstream, match="SAMLOOP_BACKEND_URL"):
        Answer.from_json(told)
