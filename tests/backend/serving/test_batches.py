"""Batches: one prediction a task, whatever happens."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.clock import HandClock
from support.pictures import draw_greys

from backend.errors import BadImage, Busy, Upstream
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.masks.crop import Crop
from backend.refresh.protocol import OUT_OF_TIME
from backend.sam.automatic import AutomaticRules
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Embedding, Predictor, encode
from backend.serving.batches import NOTHING_TO_GO_BY, Batches, TaskAnswer
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.serving.turns.traffic import Priority

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Dirt"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Cell"/><Label value="Bus"/></RectangleLabels></View>'
)
ONE_LABEL = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels></View>'
)
NO_IMAGES: Any = None
EAGER = AutomaticRules(points=3, least_score=0.0, least_area=0.0, most_area=1.0, most=5)


@pytest.fixture(scope="module")
def snapshot(tiny_base: BaseModel) -> Snapshot:
    return Snapshot("ours-v2", Predictor(tiny_base, decoder_of(tiny_base, None), version="ours-v2"), number=1)


class Heard:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.batches: list[tuple[int, float]] = []

    def count_batch(self, *, images: int, seconds: float) -> None:
        self.batches.append((images, seconds))

    def count_failure(self, reason: str) -> None:
        self.reasons.append(reason)


class Machine:
    """The tiny base on a plain image; tasks named in `broken` fail as told."""

    def __init__(self, base: BaseModel, broken: Mapping[int | None, Exception] | None = None) -> None:
        self.embedded: list[int | None] = []
        self._base, self._broken = base, broken or {}

    def embed(
        self, image: TaskImage, *, snapshot: Snapshot, priority: Priority, until_s: float, crop: Crop | None = None
    ) -> Embedding:
        assert snapshot.predictor.base is self._base
        assert priority is Priority.BATCH
        self.embedded.append(image.task_id)
        if fault := self._broken.get(image.task_id):
            raise fault
        return encode(self._base, draw_greys(64, 48))

    def decode(self, work: Callable[[], Any], *, priority: Priority, until_s: float) -> Any:
        assert priority is Priority.BATCH
        return work()


def task(number: int, *labels: str) -> dict[str, Any]:
    """A task whose annotation holds a rectangle a label."""
    regions = [
        {
            "type": "rectanglelabels",
            "from_name": "box",
            "to_name": "image",
            "value": {"x": 10.0 + n, "y": 10.0, "width": 60.0, "height": 70.0, "rectanglelabels": [label]},
        }
        for n, label in enumerate(labels)
    ]
    return {"id": number, "data": {"image": "x"}, "annotations": [{"result": regions}] if regions else []}


def images(*tasks: dict[str, Any], config: LabelConfig = CONFIG) -> list[TaskImage]:
    return [TaskImage(task=task, config=config, images=NO_IMAGES) for task in tasks]


def predictions(answers: list[TaskAnswer]) -> list[Any]:
    """What Label Studio gets."""
    return [answer.for_label_studio() for answer in answers]


def told(answers: list[TaskAnswer]) -> list[dict[str, Any]]:
    """What a refresh gets."""
    return [answer.with_reason() for answer in answers]


def test_rectangles_become_masks_under_their_labels(tiny_base: BaseModel, snapshot: Snapshot) -> None:
    asked = Batches(machine=Machine(tiny_base), observer=Heard())

    (got,) = predictions(asked.answer(images(task(1, "Cell", "Dirt")), snapshot=snapshot))

    assert got["model_version"] == "ours-v2"
    assert {region["type"] for region in got["result"]} == {"brushlabels"}
    assert [region["value"]["brushlabels"] for region in got["result"]] == [["Cell"], ["Dirt"]]
    assert len({region["id"] for region in got["result"]}) == 2
    assert all(region["meta"] == {"model_version": "ours-v2"} for region in got["result"])
    assert all(region["original_width"] == 64 and region["original_height"] == 48 for region in got["result"])
    scores = [region["score"] for region in got["result"]]
    assert min(scores) <= got["score"] <= sum(scores) / len(scores)


def test_a_label_that_the_masks_control_lacks_is_not_guessed(tiny_base: BaseModel, snapshot: Snapshot) -> None:
    asked = Batches(machine=Machine(tiny_base), observer=Heard())

    (got,) = predictions(asked.answer(images(task(1, "Bus")), snapshot=snapshot))

    assert not any("Cell" in str(region["value"]) for region in got["result"])


def test_without_anything_to_go_by_a_task_is_empty_and_its_image_is_not_fetched(
    tiny_base: BaseModel, snapshot: Snapshot
) -> None:
    machine = Machine(tiny_base)
    asked = Batches(machine=machine, observer=Heard())

    got = predictions(asked.answer(images(task(1), task(2)), snapshot=snapshot))

    assert got == [{"result": [], "score": 0.0, "model_version": "ours-v2"}] * 2
    assert not machine.embedded


def test_switched_on_tasks_without_rectangles_get_what_stands_out(tiny_base: BaseModel, snapshot: Snapshot) -> None:
    asked = Batches(machine=Machine(tiny_base), observer=Heard(), automatic=EAGER)

    (got,) = predictions(asked.answer(images(task(1), config=ONE_LABEL), snapshot=snapshot))

    assert 1 <= len(got["result"]) <= 5
    assert all(region["value"]["brushlabels"] == ["Cell"] for region in got["result"])


@pytest.mark.parametrize(
    "fault",
    [BadImage("no image that we read"), Upstream("the host cannot be reached"), ZeroDivisionError("a bug of ours")],
)
def test_a_broken_image_costs_its_own_task(
    tiny_base: BaseModel, snapshot: Snapshot, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    asked = Batches(machine=Machine(tiny_base, {2: fault}), observer=heard)
    tasks = [task(1, "Cell"), task(2, "Cell"), task(3, "Cell")]

    with caplog.at_level(logging.WARNING):
        got = predictions(asked.answer(images(*tasks), snapshot=snapshot))

    assert [len(answer["result"]) for answer in got] == [1, 0, 1]
    assert got[1] == {"result": [], "score": 0.0, "model_version": "ours-v2"}
    assert heard.reasons == [type(fault).__name__]
    assert "task 2 gets no masks" in caplog.text


PAGES = parse_label_config(
    '<View><Image name="image" valueList="$pages"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels></View>'
)


class PageMachine(Machine):
    """As `Machine`; fails for the pages that `unreadable` names, by their address."""

    def __init__(self, base: BaseModel, unreadable: Mapping[str, Exception]) -> None:
        super().__init__(base)
        self._unreadable = unreadable

    def embed(self, image: TaskImage, **rules: Any) -> Embedding:
        if fault := self._unreadable.get(image.uri):
            raise fault
        return super().embed(image, **rules)


@pytest.mark.parametrize("unreadable", [["/2.png"], ["/1.png"], ["/1.png", "/3.png"]])
def test_of_several_images_in_a_task_an_unreadable_one_costs_its_own_masks(
    tiny_base: BaseModel, snapshot: Snapshot, unreadable: list[str]
) -> None:
    heard, faults = Heard(), {page: BadImage(f"{page} is no image") for page in unreadable}
    batches = Batches(machine=PageMachine(tiny_base, faults), observer=heard, automatic=EAGER)
    paged = {"id": 1, "data": {"pages": ["/1.png", "/2.png", "/3.png"]}}

    (answer,) = batches.answer(images(paged, config=PAGES), snapshot=snapshot)
    drawn = answer.with_reason()

    readable = {0, 1, 2} - {int(page[1]) - 1 for page in unreadable}
    assert {region["item_index"] for region in drawn["result"]} == readable
    why = "; ".join(f"image {page[1]} of 3 has no masks: {page} is no image" for page in unreadable)
    assert drawn["note"] == f"samloop: {why}"
    assert drawn["result"][0]["meta"]["text"] == [drawn["note"]]
    assert "why" not in drawn, "it is stored"
    assert heard.reasons == ["BadImage"] * len(unreadable)


def test_where_no_image_of_a_task_gives_a_region_the_reason_is_told_and_nothing_is_stored(
    tiny_base: BaseModel, snapshot: Snapshot
) -> None:
    nothing = AutomaticRules(points=3, least_score=1.1, least_area=0.0, most_area=1.0, most=5)
    pages = [f"/{number}.png" for number in (1, 2, 3)]
    for unreadable, why in (
        (pages[:1], "image 1 of 3 has no masks: /1.png is no image"),
        (pages, "/1.png is no image"),
    ):
        faults = {page: BadImage(f"{page} is no image") for page in unreadable}
        batches = Batches(machine=PageMachine(tiny_base, faults), observer=Heard(), automatic=nothing)
        (answer,) = batches.answer(images({"id": 1, "data": {"pages": pages}}, config=PAGES), snapshot=snapshot)
        assert answer.with_reason() == {"result": [], "score": 0.0, "model_version": "ours-v2", "why": why}


def test_a_batch_out_of_time_answers_what_it_has_and_nothing_is_kept_of_the_rest(
    tiny_base: BaseModel, snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Machine):
        def decode(self, work: Callable[[], Any], *, priority: Priority, until_s: float) -> Any:
            clock.now_s = until_s
            return work()

    clock = HandClock()
    heard, machine = Heard(), Slow(tiny_base)
    asked = Batches(machine=machine, observer=heard, seconds=60.0, clock=clock)

    with caplog.at_level(logging.WARNING):
        got = predictions(asked.answer(images(*[task(n, "Cell") for n in range(4)]), snapshot=snapshot))

    assert len(got[0]["result"]) == 1
    assert got[1:] == [[], [], []], "Label Studio stores an empty prediction, and never asks for its task again"
    assert machine.embedded == [0]
    assert heard.reasons == ["OutOfTime"] * 3
    assert heard.batches == [(1, 60.0)], "one image has an answer, after a minute"
    assert "3 of 4 tasks got no answer" in caplog.text


def test_a_task_whose_turn_did_not_come_can_be_asked_for_again(tiny_base: BaseModel, snapshot: Snapshot) -> None:
    heard = Heard()
    asked = Batches(machine=Machine(tiny_base, {2: Busy("too much to encode at once")}), observer=heard)
    tasks = [task(1, "Cell"), task(2, "Cell")]
    got = predictions(asked.answer(images(*tasks), snapshot=snapshot))
    assert (len(got[0]["result"]), got[1], heard.reasons) == (1, [], ["OutOfTime"])
    (_, late) = told(asked.answer(images(*tasks), snapshot=snapshot))
    assert late == {"result": [], "score": 0.0, "model_version": "ours-v2", "why": OUT_OF_TIME}


def test_the_time_that_a_request_waited_for_the_model_is_time_that_label_studio_waited(
    tiny_base: BaseModel, snapshot: Snapshot
) -> None:
    machine = Machine(tiny_base)
    clock = HandClock()
    asked = Batches(machine=machine, observer=Heard(), seconds=60.0, clock=clock)
    began_s = clock.now_s - 61.0
    got = predictions(asked.answer(images(task(1, "Cell")), snapshot=snapshot, began_s=began_s))
    assert (got, machine.embedded) == ([[]], [])


def test_who_stores_predictions_is_told_which_are_empty_without_a_look(
    tiny_base: BaseModel, snapshot: Snapshot
) -> None:
    """A task that cannot be looked at, or has nothing to go by, is not one in which nothing was found."""
    asked = Batches(machine=Machine(tiny_base, {2: Upstream("the host cannot be reached")}), observer=Heard())
    tasks = [task(1, "Cell"), task(2, "Cell"), {"id": 3, "data": {"image": "x"}}]
    got = told(asked.answer(images(*tasks), snapshot=snapshot))
    assert [answer.get("why") for answer in got] == [None, "the host cannot be reached", NOTHING_TO_GO_BY]

    late = Batches(machine=Machine(tiny_base), observer=Heard(), seconds=-1)
    (answer,) = told(late.answer(images(*tasks[:1]), snapshot=snapshot))
    assert answer["why"] == OUT_OF_TIME

    found_nothing = AutomaticRules(points=3, least_score=1.1)
    eager = Batches(machine=Machine(tiny_base), observer=Heard(), automatic=found_nothing)
    (answer,) = told(eager.answer(images(*tasks[2:], config=ONE_LABEL), snapshot=snapshot))
    assert answer == {"result": [], "score": 0.0, "model_version": "ours-v2"}, "it was looked at"


def test_a_config_without_anything_for_masks_gives_empty_predictions(tiny_base: BaseModel, snapshot: Snapshot) -> None:
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><Choices name="c" toName="image"><Choice value="a"/></Choices>'
        "</View>"
    )
    asked = Batches(machine=Machine(tiny_base), observer=Heard(), automatic=EAGER)

    (got,) = predictions(asked.answer(images(task(1), config=config), snapshot=snapshot))

    assert got["result"] == []
