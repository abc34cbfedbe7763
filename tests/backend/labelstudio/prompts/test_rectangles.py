"""Rectangles that stand on a task, from whomever they are."""

from typing import Any

import pytest

from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.prompts.rectangles import MOST_RECTANGLES, has_rectangles, rectangles_of_task
from backend.masks.prompt import Box

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="Cell"/><Label value="Dirt"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image"><Label value="Cell"/><Label value="Dirt"/></RectangleLabels></View>'
)


def rectangle(x: float = 10.0, *, label: str = "Cell", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value, **more}


def boxes(task: dict[str, Any]) -> list[tuple[str | None, Box | None]]:
    found = rectangles_of_task(task, height_px=100, width_px=200, config=CONFIG, model_version="ours-v2")
    assert has_rectangles(task, model_version="ours-v2") or not found
    return [(rectangle.label, rectangle.prompt.box) for rectangle in found]


def test_rectangles_of_drafts_annotations_and_other_models_are_boxes_under_their_labels() -> None:
    task = {
        "drafts": [{"result": [rectangle(0.0)]}],
        "annotations": [{"result": [rectangle(20.0, label="Dirt")]}],
        "predictions": [{"model_version": "yolo", "result": [rectangle(50.0)]}],
    }

    assert boxes(task) == [
        ("Cell", Box(0.0, 20.0, 60.0, 60.0)),
        ("Dirt", Box(40.0, 20.0, 100.0, 60.0)),
        ("Cell", Box(100.0, 20.0, 160.0, 60.0)),
    ]


def test_a_rectangle_that_two_people_drew_counts_once() -> None:
    task = {
        "annotations": [{"result": [rectangle(10.0)]}, {"result": [rectangle(10.5)]}, {"result": [rectangle(40.0)]}]
    }

    assert len(boxes(task)) == 2


def test_two_labels_at_one_place_are_two_objects() -> None:
    task = {"annotations": [{"result": [rectangle(), rectangle(label="Dirt")]}]}

    assert [label for label, _ in boxes(task)] == ["Cell", "Dirt"]


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"annotations": None, "drafts": "x", "predictions": [None, 3]},
        {"annotations": [{"result": None}, {"result": ["x"]}]},
        {"annotations": [{"was_cancelled": True, "result": [rectangle()]}]},
        {"annotations": [{"result": [rectangle() | {"type": "polygonlabels", "value": {"points": [[0, 0], [9, 9]]}}]}]},
        {"predictions": [{"model_version": "ours-v2", "result": [rectangle()]}]},
        {"predictions": [{"model_version": "x", "result": [rectangle(meta={"model_version": "ours-v1"})]}]},
        {"annotations": [{"result": [rectangle(x=float("nan"))]}]},
        {"annotations": [{"result": [rectangle(x=400.0)]}]},
        {"annotations": [{"result": [rectangle() | {"value": None}]}]},
    ],
    ids=[
        "nothing",
        "nonsense",
        "no regions",
        "cancelled",
        "other kinds",
        "our own version",
        "another version of ours",
        "not a number",
        "outside",
        "no value",
    ],
)
def test_what_is_no_rectangle_of_somebody_else_is_left_out(task: dict[str, Any]) -> None:
    assert boxes(task) == []


def test_a_rectangle_of_ours_that_an_annotator_accepted_counts() -> None:
    assert len(boxes({"annotations": [{"result": [rectangle(meta={"model_version": "ours-v1"})]}]})) == 1


def test_a_rectangle_that_cannot_be_read_costs_the_others_nothing() -> None:
    assert len(boxes({"annotations": [{"result": [rectangle(x=float("nan")), rectangle()]}]})) == 1


def test_there_is_a_most() -> None:
    many = [rectangle(x=0.06 * n, label=f"L{n}") for n in range(MOST_RECTANGLES + 50)]

    assert len(boxes({"annotations": [{"result": many}]})) == MOST_RECTANGLES
