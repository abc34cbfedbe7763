"""A batch is stored once, whatever happens between the look and the write."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from support.clock import HandClock

from backend.errors import BadInput, Upstream
from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.patience import Patience
from backend.refresh.protocol import Answer
from backend.refresh.tally import Tally
from backend.refresh.writing import Writing

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Coin"/></BrushLabels></View>'
)
REGION = {
    "id": "r",
    "type": "brushlabels",
    "value": {"format": "rle", "rle": [1], "brushlabels": ["Coin"]},
    "meta": {"model_version": "v1"},
}


class Lab:
    """Four tasks in a Label Studio, and answers for all of them; waiting takes no time."""

    def __init__(self, studio: FakeLabelStudio) -> None:
        self.studio, self.client = studio, StudioSetup(studio.url, studio.token)
        project_id = int(self.client.create_project("p", CONFIG)["id"])
        self.client.import_tasks(project_id, [{"data": {"image": f"/{n}.png"}} for n in range(4)])
        self.ids = sorted(task["id"] for task in self.client.tasks(project_id))
        self.store = PredictionStore(studio.url, studio.token, project_id=project_id)
        self.tally, clock = Tally(version="v1"), HandClock()
        patience = Patience(
            check=lambda: None,
            patience_s=60.0,
            first_pause_s=0.5,
            longest_pause_s=60.0,
            clock=clock,
            sleep=clock.advance,
        )
        self.writing = Writing(self.store, patience, self.tally)

    def write(self) -> None:
        self.writing.write({task_id: Answer("v1", 0.5, (REGION,)) for task_id in self.ids})

    def versions(self) -> list[list[str]]:
        return [
            [stored["model_version"] for stored in self.client.predictions(task_id=task_id)] for task_id in self.ids
        ]


@pytest.fixture
def lab() -> Iterator[Lab]:
    with FakeLabelStudio() as studio:
        yield Lab(studio)


def test_every_answer_is_stored_once_and_counted(lab: Lab) -> None:
    lab.write()
    assert lab.versions() == [["v1"]] * 4
    assert (lab.tally.written, lab.tally.there) == (4, 0)


def test_what_is_there_already_is_not_written_again(lab: Lab) -> None:
    lab.store.add([Answer("v1", 0.5, (REGION,)).row(lab.ids[2])])
    lab.write()
    assert lab.versions() == [["v1"]] * 4
    assert (lab.tally.written, lab.tally.there) == (3, 1)


def test_a_task_that_somebody_touched_gets_none(lab: Lab) -> None:
    lab.client.create_annotation(lab.ids[0], [])
    lab.write()
    assert lab.versions() == [[], ["v1"], ["v1"], ["v1"]]
    assert (lab.tally.written, lab.tally.touched) == (3, 1)


def _before(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act between the last look and the write."""
    add = PredictionStore.add

    def late(self: PredictionStore, rows: Sequence[Any]) -> int:
        act()
        return add(self, rows)

    monkeypatch.setattr(PredictionStore, "add", late)


def test_a_double_that_came_in_between_is_removed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio itself asked for one, as it does where a task is opened."""
    _before(monkeypatch, lambda: lab.client.create_prediction(lab.ids[0], result=[], score=0.5, model_version="v1"))
    lab.write()
    assert lab.versions() == [["v1"]] * 4
    assert lab.tally.doubles == 1


def test_an_answer_that_was_lost_is_looked_up_before_it_is_sent_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, sent = PredictionStore.add, []

    def lossy(self: PredictionStore, rows: Sequence[Any]) -> int:
        sent.append(len(rows))
        add(self, rows)
        raise Upstream("the connection was cut")

    monkeypatch.setattr(PredictionStore, "add", lossy)
    lab.write()
    assert (sent, lab.tally.written) == ([4], 4)


def test_what_is_taken_and_never_listed_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PredictionStore, "add", lambda _, rows: len(rows))
    with pytest.raises(BadInput, match="accepted predictions of v1 but does not list them"):
        lab.write()


def test_a_refused_batch_goes_one_by_one_and_what_is_refused_alone_says_why(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_one = PredictionStore.add_one

    def refuse(self: PredictionStore, rows: Sequence[Any]) -> int:
        raise BadInput("the batch is refused")

    def refuse_one(self: PredictionStore, row: Any) -> None:
        if row["task"] == lab.ids[1]:
            raise BadInput("Nut is no label")
        add_one(self, row)

    monkeypatch.setattr(PredictionStore, "add", refuse)
    monkeypatch.setattr(PredictionStore, "add_one", refuse_one)
    lab.write()
    assert lab.versions() == [["v1"], [], ["v1"], ["v1"]]
    assert (lab.tally.written, lab.tally.whys) == (3, {"Nut is no label": 1})
