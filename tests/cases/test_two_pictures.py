"""Several images in a task: a click, a batch and a training keep to the image that something was drawn on."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import BadInput
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.task_data import image_at
from backend.serving.clicks import find_clicked_images
from backend.serving.task_image import TaskImage
from finetuner.config import Rules
from finetuner.data.annotations import objects_of, read_images
from finetuner.data.exclusions import Exclusions

CASE = Path(__file__).resolve().parents[1] / "data" / "cases" / "two-pictures-in-a-task"
TASKS = json.loads((CASE / "export.json").read_text())
CONFIG = parse_label_config((CASE / "config.xml").read_text())
PAGES = parse_label_config(
    '<View><Image name="image" valueList="$pages"/><BrushLabels name="tag" toName="image"><Label value="Disc"/>'
    "</BrushLabels></View>"
)


class NoSource:
    """Nothing is fetched here."""

    def fetch(self, _uri: str, *, task_id: int | None = None) -> bytes:
        raise AssertionError(task_id)


def image(task: dict[str, Any], config: LabelConfig = CONFIG) -> TaskImage:
    return TaskImage(task=task, config=config, images=NoSource())  # type: ignore[arg-type]


def test_a_click_is_answered_for_the_picture_that_it_is_on() -> None:
    context = json.loads((CASE / "context.json").read_text())
    ((part, here),) = find_clicked_images(image(TASKS[0]), context)
    assert part.uri == TASKS[0]["data"]["right"]
    assert here["result"] == context["result"]
    assert {control.to_name for control in part.config.controls} == {"right"}
    context["result"][0] |= {"to_name": "left", "from_name": "lkp"}
    ((part, _),) = find_clicked_images(image(TASKS[0]), context)
    assert part.uri == TASKS[0]["data"]["left"]


@pytest.mark.parametrize("config", [CONFIG, None])
def test_a_tag_s_name_in_a_list_is_its_name(config: LabelConfig | None) -> None:
    rows = [row | {"to_name": [row["to_name"]]} for row in TASKS[0]["annotations"][0]["result"]]
    task = {**TASKS[0], "annotations": [{**TASKS[0]["annotations"][0], "result": rows}]}
    found = read_images(task, config=config, exclusions=Exclusions())
    assert [part.image_uri for part in found] == [TASKS[0]["data"][side] for side in ("left", "right")]
    assert [len(part.annotations[0].regions) for part in found] == [2, 2]


def test_a_click_on_a_picture_that_the_task_lacks_is_not_answered_for_the_other() -> None:
    context = json.loads((CASE / "context.json").read_text())
    left = {**TASKS[0], "data": {"left": TASKS[0]["data"]["left"]}}
    ((part, here),) = find_clicked_images(image(left), context)
    assert (part.uri, here["result"]) == (left["data"]["left"], [])
    (click,) = context["result"]
    right = {**TASKS[0], "data": {"right": TASKS[0]["data"]["right"]}}
    for row in (click, {**click, "to_name": None}):  # without a name, it is on the only picture
        ((part, here),) = find_clicked_images(image(right), {"result": [row]})
        assert (part.uri, here["result"]) == (right["data"]["right"], [row])


@pytest.mark.parametrize("name", ["left", "img-1"])
def test_what_was_drawn_on_an_image_that_is_no_longer_shown_is_not_learnt_on_another(name: str) -> None:
    shown = f'<View><Image name="{name}" value="$left"/><Brush name="b" toName="{name}"/></View>'
    exclusions = Exclusions()
    (found,) = read_images(TASKS[0], config=parse_label_config(shown), exclusions=exclusions)
    rows = TASKS[0]["annotations"][0]["result"]
    objects = objects_of(found, height_px=120, width_px=160, rules=Rules(), exclusions=exclusions)
    assert (len(objects), found.image_uri) == (2, TASKS[0]["data"]["left"])
    assert "it was drawn on another image of the task, 'right'" in exclusions.sentence()

    renamed = [row | {"to_name": "old"} for row in rows]
    task = {**TASKS[0], "annotations": [{**TASKS[0]["annotations"][0], "result": renamed}]}
    (found,) = read_images(task, config=parse_label_config(shown), exclusions=exclusions)
    assert len(objects_of(found, height_px=120, width_px=160, rules=Rules(), exclusions=exclusions)) == len(rows)


def test_prompts_on_two_pictures_are_answered_on_both() -> None:
    click = json.loads((CASE / "context.json").read_text())["result"][0]
    clicked = find_clicked_images(image(TASKS[0]), {"result": [click, {**click, "id": "k2", "to_name": "left"}]})
    assert [(part.config.image_name, [row["id"] for row in here["result"]]) for part, here in clicked] == [
        ("left", ["k2"]),
        ("right", ["k1"]),
    ]


def test_a_picture_shows_what_was_drawn_on_it_alone() -> None:
    left, right = image(TASKS[0]).parts()
    for part in (left, right):
        regions = part.task["annotations"][0]["result"]
        assert [region["to_name"] for region in regions] == [part.config.image_name] * 2


@pytest.mark.parametrize("page", [0, 1, 2, 2.0, "2"])
def test_a_click_on_a_page_is_answered_for_that_page(page: float | str) -> None:
    task = {"id": 1, "data": {"pages": ["/0.png", "/1.png", "/2.png"]}}
    region = {"id": "k", "type": "keypointlabels", "to_name": "image", "item_index": page, "value": {"x": 1, "y": 1}}
    ((part, here),) = find_clicked_images(image(task, PAGES), {"result": [region]})
    assert part.uri == f"/{int(page)}.png"
    assert len(here["result"]) == 1
    assert [control.page for control in part.config.controls] == [int(page)]


@pytest.mark.parametrize("index", [{}, {"item_index": 0}])
def test_a_lone_address_behind_a_list_is_its_only_page(index: dict[str, int]) -> None:
    """The editor shows it: label-studio's Image tag makes one image of a text."""
    task = {"id": 1, "data": {"pages": "/0.png"}}
    region = {"id": "k", "type": "keypointlabels", "to_name": "image", "value": {"x": 1, "y": 1}} | index
    ((part, here),) = find_clicked_images(image(task, PAGES), {"result": [region]})
    assert (part.uri, len(here["result"])) == ("/0.png", 1)
    drawn = TASKS[0]["annotations"][0]["result"][0] | {"to_name": "image"} | index
    annotated = {**task, "annotations": [{"id": 1, "result": [drawn]}]}
    for config in (PAGES, None):
        (found,) = read_images(annotated, config=config, exclusions=Exclusions())
        assert (found.image_uri, len(found.annotations[0].regions)) == ("/0.png", 1)


def test_without_an_item_index_a_click_is_on_the_first_page() -> None:
    task = {"id": 1, "data": {"pages": ["/0.png", "/1.png"]}}
    ((part, _),) = find_clicked_images(image(task, PAGES), {"result": [{"id": "k", "to_name": "image", "value": {}}]})
    assert part.uri == "/0.png"


def test_a_picture_to_compare_with_is_not_annotated() -> None:
    config = parse_label_config(
        '<View><Image name="reference" value="$ref"/><Image name="image" value="$image"/>'
        '<Brush name="b" toName="image"/></View>'
    )
    assert (config.image_name, config.image_key, config.others) == ("image", "image", ())


def test_a_project_learns_from_both_pictures_and_says_what_was_drawn_on_neither() -> None:
    exclusions = Exclusions()
    stray = {**TASKS[0]["annotations"][0]["result"][0], "id": "s", "to_name": "gone"}
    task = {**TASKS[0], "annotations": [{**TASKS[0]["annotations"][0]}]}
    task["annotations"][0]["result"] = [*task["annotations"][0]["result"], stray]
    found = read_images(task, config=CONFIG, exclusions=exclusions)
    assert [part.image_uri for part in found] == [image_at(task["data"], side) for side in ("left", "right")]
    assert [len(part.annotations[0].regions) for part in found] == [2, 2]
    assert exclusions.sentence() == "1 x it was drawn on another image of the task, 'gone'"


def test_of_a_task_submitted_empty_both_pictures_are_empty_and_else_none_is() -> None:
    empty = {**TASKS[0], "annotations": [{**TASKS[0]["annotations"][0], "result": []}]}
    found = read_images(empty, config=CONFIG, exclusions=Exclusions(), empty_counts=True)
    assert [part.is_empty for part in found] == [True, True]
    left = [row for row in TASKS[0]["annotations"][0]["result"] if row["to_name"] == "left"]
    half = {**TASKS[0], "annotations": [{**TASKS[0]["annotations"][0], "result": left}]}
    (found_left,) = read_images(half, config=CONFIG, exclusions=Exclusions(), empty_counts=True)
    assert found_left.image_uri == TASKS[0]["data"]["left"]


REPEATED = parse_label_config(
    """<View><Repeater on="$document" indexFlag="{{idx}}" mode="pagination">
    <Image name="page_{{idx}}" value="$document[{{idx}}].page"/>
    <BrushLabels name="tag_{{idx}}" toName="page_{{idx}}"><Label value="Disc"/></BrushLabels></Repeater></View>"""
)


def test_a_click_on_an_item_of_a_repeater_is_answered_for_its_picture() -> None:
    task = {"id": 1, "data": {"document": [{"page": "/0.png"}, {"page": "/1.png"}]}}
    region = {"id": "k", "type": "keypointlabels", "from_name": "tag_1", "to_name": "page_1", "value": {"x": 1, "y": 1}}
    ((part, here),) = find_clicked_images(image(task, REPEATED), {"result": [region]})
    assert (part.uri, len(here["result"])) == ("/1.png", 1)
    assert [(control.from_name, control.to_name) for control in part.config.controls] == [("tag_1", "page_1")]


@pytest.mark.parametrize("config", [REPEATED, None])
def test_a_training_learns_from_the_item_of_a_repeater_that_was_drawn_on(config: LabelConfig | None) -> None:
    drawn = {**TASKS[0]["annotations"][0]["result"][0], "from_name": "tag_1", "to_name": "page_1"}
    data = {"document": [{"page": "/0.png"}, {"page": "/1.png"}]}
    task = {"id": 1, "data": data, "annotations": [{"id": 1, "result": [drawn]}]}
    exclusions = Exclusions()
    (found,) = read_images(task, config=config, exclusions=exclusions)
    assert (found.image_uri, len(found.annotations[0].regions), exclusions.by_reason()) == ("/1.png", 1, ())


def test_a_task_without_the_list_of_a_repeater_has_no_image() -> None:
    with pytest.raises(BadInput, match="task 1 has no image in data"):
        _ = image({"id": 1, "data": {"document": None}}, REPEATED).parts()[0].uri
