"""A request for predictions is refused before a model is asked, or answered by the model that serves.

With a model, a queue and a Label Studio behind it: tests/backend/server/routes/test_label_studio.py.
"""

from typing import Any

import pytest

from backend.errors import BadInput, Unavailable
from backend.http.metrics import Metrics
from backend.server.bodies import PredictBody
from backend.server.routes.predicting import Predicting
from backend.serving.refusals import Refusal, Refusals


class Loading:
    """An engine whose model is not there yet."""

    def __init__(self) -> None:
        self.asked = 0

    def wait(self) -> None:
        self.asked += 1
        raise Unavailable("the model is still loading")

    def version(self, project_id: int | None) -> str:
        return f"v{project_id}"


@pytest.fixture
def engine() -> Loading:
    return Loading()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


class NotedRefusals(Refusals):
    """Notes refused clicks in this process alone."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, Refusal]] = []

    def note(self, project_id: int, *, task_id: int | None, reason: str) -> None:
        self.noted.append((project_id, Refusal(at="now", task_id=task_id, reason=reason)))

    def last(self, project_id: int) -> tuple[Refusal, ...]:
        return tuple(refusal for owner, refusal in reversed(self.noted) if owner == project_id)


@pytest.fixture
def refusals() -> Refusals:
    return NotedRefusals()


@pytest.fixture
def predicting(engine: Any, metrics: Metrics, refusals: Refusals) -> Predicting:
    unused: Any = None
    return Predicting(engine=engine, connections=unused, metrics=metrics, live=unused, refusals=refusals)


def body(**fields: Any) -> PredictBody:
    return PredictBody.model_validate({"tasks": [{"id": 1}], "label_config": "<View/>", **fields})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tasks": [{"id": 1}, {"id": 2}]}, "2 tasks came with a context"),
        ({"tasks": []}, "0 tasks came with a context"),
        ({"label_config": None}, "label_config is missing"),
        ({"project": "seven"}, "project"),
    ],
)
def test_a_click_that_cannot_be_answered_asks_no_model_and_is_counted(
    predicting: Predicting, engine: Loading, metrics: Metrics, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        predicting.answer(body(params={"context": {"result": []}}, **fields))
    assert engine.asked == 0
    assert 'samloop_failures_total{reason="BadInput"} 1.0' in metrics.exposition().decode()


def test_while_a_model_loads_a_batch_is_told_to_come_back(predicting: Predicting, metrics: Metrics) -> None:
    with pytest.raises(Unavailable, match="still loading"):
        predicting.answer(body(tasks=[{"id": 1}, {"id": 2}]))
    assert 'samloop_failures_total{reason="Unavailable"} 1.0' in metrics.exposition().decode()


def test_a_refused_click_leaves_a_warning_a_count_and_its_reason(
    predicting: Predicting, metrics: Metrics, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    """Label Studio shows the annotator nothing, and logs a 200."""
    with pytest.raises(Unavailable):
        predicting.answer(body(tasks=[{"id": 12}], project="7.1795418479", params={"context": {"result": []}}))
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == "a click in project 7 on task 12 was refused: the model is still loading"
    assert 'samloop_refused_clicks_total{reason="Unavailable"} 1.0' in metrics.exposition().decode()
    (refusal,) = refusals.last(7)
    assert (refusal.task_id, refusal.reason) == (12, "the model is still loading")


def test_a_refused_batch_is_no_refused_click(
    predicting: Predicting, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unavailable):
        predicting.answer(body(project="7"))
    assert refusals.last(7) == ()
    assert "refused" not in caplog.text


def test_a_click_that_gets_no_mask_is_told_like_a_refused_one(
    monkeypatch: pytest.MonkeyPatch,
    predicting: Predicting,
    metrics: Metrics,
    refusals: Refusals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    nothing = {"result": [], "score": 0.0, "model_version": "v1", "note": "the model sees no object at the prompt"}
    monkeypatch.setattr(predicting, "_results", lambda *_, **__: [nothing])
    click = body(tasks=[{"id": 12}], project="7", params={"context": {"result": []}})
    assert predicting.answer(click) == [nothing]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == "a click in project 7 on task 12 got no mask: the model sees no object at the prompt"
    assert 'samloop_refused_clicks_total{reason="NoMask"} 1.0' in metrics.exposition().decode()
    assert [refusal.reason for refusal in refusals.last(7)] == ["the model sees no object at the prompt"]
    predicting.answer(body(project="7"))
    assert len(refusals.last(7)) == 1, "an empty batch is no click"


WITH_TAG = '<View><Image name="image" value="$image"/><TextArea name="samloop" toName="image"/></View>'


def test_the_editor_shows_the_reason_where_the_project_has_a_tag_for_it(
    monkeypatch: pytest.MonkeyPatch, predicting: Predicting, refusals: Refusals
) -> None:
    click = body(project="7", label_config=WITH_TAG, params={"context": {"result": []}})
    (refused,) = predicting.answer(click)
    (text,) = refused["result"]
    assert (text["type"], text["from_name"], text["to_name"]) == ("textarea", "samloop", "image")
    assert text["value"]["text"] == ["the model is still loading"]
    assert (refused["score"], refused["model_version"]) == (0.0, "v7")

    nothing = {"result": [], "score": 0.0, "model_version": "v7", "note": "the model sees no object at the prompt"}
    monkeypatch.setattr(predicting, "_results", lambda *_, **__: [nothing])
    (empty,) = predicting.answer(click)
    assert empty["result"][0]["value"]["text"] == ["the model sees no object at the prompt"]
    assert len(refusals.last(7)) == 2

    drawn = nothing | {"result": [{"id": "mask"}]}
    monkeypatch.setattr(predicting, "_results", lambda *_, **__: [drawn])
    (answered,) = predicting.answer(click)
    assert [result.get("value") for result in answered["result"]] == [None, {"text": []}]


def test_a_batch_that_cannot_be_answered_is_an_error_with_the_tag_too(predicting: Predicting) -> None:
    with pytest.raises(Unavailable):
        predicting.answer(body(project="7", label_config=WITH_TAG))
