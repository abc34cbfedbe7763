"""Requests of public bug reports, rebuilt small: what a click or a batch points at in every one."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.prompts.rectangles import rectangles_of_task
from backend.labelstudio.prompts.request import prompts_from_context
from backend.labelstudio.task_data import image_at
from backend.masks.prompt import Box

CASES = Path(__file__).resolve().parents[1] / "data" / "cases"
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Disc"/><Label value="Bone"/><Label value="Cell"/></BrushLabels>
<RectangleLabels name="rect" toName="image" smart="true"><Label value="Disc"/></RectangleLabels></View>"""


def case(name: str) -> Any:
    return json.loads((CASES / name).read_text())


def boxes(task: dict[str, Any], *, height_px: int, width_px: int, config: LabelConfig | None = None) -> list[Box]:
    prompts = rectangles_of_task(
        task,
        height_px=height_px,
        width_px=width_px,
        config=config or parse_label_config(CONFIG),
        model_version="ours",
    )
    return [prompt.prompt.box for prompt in prompts if prompt.prompt.box is not None]


def holds(box: Box, x_px: float, y_px: float) -> bool:
    return box.x0_px < x_px < box.x1_px and box.y0_px < y_px < box.y1_px


def test_boxes_off_the_picture_are_around_their_discs_in_a_batch_and_as_clicks() -> None:
    centres = case("boxes-off-the-picture/truth.json")
    (task,) = case("boxes-off-the-picture/tasks.json")
    found = boxes(task, height_px=180, width_px=240)
    assert [holds(box, *centre) for box, centre in zip(found, centres, strict=True)] == [True] * 4
    for context, centre in zip(case("boxes-off-the-picture/contexts.json"), centres, strict=True):
        (prompt,) = prompts_from_context(context, height_px=180, width_px=240)
        assert prompt.prompt.box is not None
        assert holds(prompt.prompt.box, *centre)


@pytest.mark.parametrize("name", ["context", "outside"])
def test_a_rectangle_that_is_turned_on_a_tall_picture_is_a_box_within_it(name: str) -> None:
    (prompt,) = prompts_from_context(case(f"three-point-rectangle/{name}.json"), height_px=1000, width_px=100)
    box = prompt.prompt.box
    assert box is not None
    assert 0 <= box.x0_px < box.x1_px <= 100
    assert 0 <= box.y0_px < box.y1_px <= 1000


def test_a_region_that_was_drawn_in_a_turned_view_is_refined_under_its_id() -> None:
    (prompt,) = prompts_from_context(case("rotated-view/refine.json"), height_px=120, width_px=160)
    assert prompt.refines is not None
    assert prompt.refines.region_id == "mine"
    assert prompt.prompt.mask is not None


def test_the_label_beside_a_detector_s_rectangle_is_that_of_its_prompt() -> None:
    config = parse_label_config((CASES / "labels-tag" / "config.xml").read_text())
    (task,) = case("labels-tag/predict.json")
    (prompt,) = rectangles_of_task(task, height_px=120, width_px=160, config=config, model_version="ours")
    assert prompt.label == "Cell"


@pytest.mark.parametrize("name", ["nested", "list"])
def test_the_image_is_where_the_path_in_the_config_leads(name: str) -> None:
    given = case(f"image-value/{name}.json")
    key = parse_label_config(given["label_config"]).image_key
    assert image_at(given["data"], key) == "/data/upload/1/0123abcd-a0.png"


def test_the_image_is_where_a_text_around_a_variable_leads() -> None:
    given = case("image-value/nested.json")
    value = given["label_config"].replace("$meta.url", "/data/upload/1/$meta.file")
    key = parse_label_config(value).image_key
    assert image_at({"meta": {"file": "0123abcd-a0.png"}}, key) == "/data/upload/1/0123abcd-a0.png"


def test_seven_hundred_boxes_are_seven_hundred_prompts() -> None:
    (task,) = case("seven-hundred-boxes/tasks.json")
    assert len(boxes(task, height_px=480, width_px=640)) == 700
