"""Keypoints and rectangles become prompts in pixels, one object a label; nonsense is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.labelstudio.prompts import LabelledPrompt, prompts_from_context
from backend.masks.prompt import Box, Click, Prompt

PAYLOADS = Path(__file__).resolve().parents[2] / "data" / "payloads"


def keypoint(x: Any, y: Any, *, label: str | None = "Coin", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3} | ({"keypointlabels": [label]} if label else {})
    return {"id": "k", "type": "keypointlabels", "value": value, **more}


def rectangle(x: Any, y: Any, width: Any, height: Any, *, label: str = "Coin", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [label], **more}
    return {"id": "r", "type": "rectanglelabels", "value": value}


def prompts(*regions: Any, height_px: int = 100, width_px: int = 200) -> tuple[LabelledPrompt, ...]:
    return prompts_from_context({"result": list(regions)}, height_px=height_px, width_px=width_px)


def recorded(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())["body"]["params"]["context"]


def test_recorded_clicks_with_alt_are_one_prompt_with_a_background_click() -> None:
    (labelled,) = prompts_from_context(recorded("25-predict-UI-keypoint-negative-alt"), height_px=303, width_px=384)
    assert labelled.label == "Coin"
    assert labelled.prompt.box is None
    assert [click.is_foreground for click in labelled.prompt.clicks] == [True, True, False]
    assert labelled.prompt.clicks[0].x_px == pytest.approx(28.745837957824637 * 3.84)
    assert labelled.prompt.clicks[0].y_px == pytest.approx(17.22673377215635 * 3.03)


def test_a_recorded_rectangle_goes_with_the_clicks_of_its_label() -> None:
    context = recorded("25b-predict-UI-rectangle")
    found = prompts_from_context(context, height_px=303, width_px=384)
    assert sum(labelled.prompt.box is not None for labelled in found) == 1
    assert sum(len(labelled.prompt.clicks) for labelled in found) == sum(
        region["type"] == "keypointlabels" for region in context["result"]
    )


def test_two_labels_are_two_prompts_in_the_order_of_their_first_region() -> None:
    found = prompts(keypoint(10, 10, label="B"), keypoint(20, 20, label="A"), keypoint(30, 30, label="B"))
    assert [(each.label, len(each.prompt.clicks)) for each in found] == [("B", 2), ("A", 1)]


def test_every_rectangle_is_an_object_and_clicks_refine_the_last() -> None:
    found = prompts(rectangle(0, 0, 10, 10), rectangle(50, 50, 10, 10), keypoint(55, 55))
    assert [each.prompt for each in found] == [
        Prompt(box=Box(0.0, 0.0, 20.0, 10.0)),
        Prompt(clicks=(Click(110.0, 55.0),), box=Box(100.0, 50.0, 120.0, 60.0)),
    ]


@pytest.mark.parametrize("positive", [False, 0, "0", "false"])
def test_background_clicks_alone_point_at_nothing(positive: Any) -> None:
    assert prompts(keypoint(10, 10, is_positive=positive)) == ()


def test_other_regions_and_absent_contexts_are_no_prompts() -> None:
    assert prompts({"type": "brushlabels", "value": {"rle": []}}, {"type": "choices"}, {}) == ()
    assert prompts_from_context(None, height_px=1, width_px=1) == ()
    assert prompts_from_context({}, height_px=1, width_px=1) == ()


def test_a_click_without_a_label_keeps_none() -> None:
    assert prompts(keypoint(0, 100, label=None)) == (LabelledPrompt(None, Prompt(clicks=(Click(0.0, 100.0),))),)


def test_a_rounding_beyond_the_edge_is_cut_off() -> None:
    (labelled,) = prompts(keypoint(100.0001, -0.0001))
    assert labelled.prompt.clicks == (Click(200.0, 0.0),)


def test_a_quarter_turn_is_about_the_top_left_corner() -> None:
    """40 x 10 px at (100, 50), turned clockwise by 90 degrees, hangs to the left of its corner."""
    (labelled,) = prompts(rectangle(50, 50, 20, 10, rotation=90))
    box = labelled.prompt.box
    assert box is not None
    assert (box.x0_px, box.y0_px, box.x1_px, box.y1_px) == pytest.approx((90, 50, 100, 90))


@given(
    x=st.floats(0, 100), y=st.floats(0, 100), w=st.floats(0.01, 100), h=st.floats(0.01, 100),
    rotation=st.floats(-1e6, 1e6),
)  # fmt: skip
def test_a_box_is_ordered_and_inside_the_image_or_refused(
    x: float, y: float, w: float, h: float, rotation: float
) -> None:
    try:
        (labelled,) = prompts(rectangle(x, y, w, h, rotation=rotation))
    except BadInput:
        return
    box = labelled.prompt.box
    assert box is not None
    assert 0 <= box.x0_px < box.x1_px <= 200
    assert 0 <= box.y0_px < box.y1_px <= 100


@pytest.mark.parametrize(
    ("regions", "complaint"),
    [
        ([keypoint(-1e9, 5)], "outside of the image"),
        ([keypoint(102, 5)], "outside of the image"),
        ([keypoint(math.nan, 5)], "x is not a finite number"),
        ([keypoint(5, math.inf)], "y is not a finite number"),
        ([keypoint(10**4999, 5)], "x is not a finite number"),
        ([keypoint("5", 5)], "x is str, not a number"),
        ([keypoint(None, 5)], "x is NoneType"),
        ([keypoint(True, 5)], "x is bool"),
        ([rectangle(10, 10, 0, 10)], "empty or larger"),
        ([rectangle(10, 10, 10, -5)], "empty or larger"),
        ([rectangle(10, 10, 1e9, 5)], "empty or larger"),
        ([rectangle(100, 10, 5, 5)], "outside of the image"),
        ([rectangle(10, 10, 5, 5, rotation=math.nan)], "rotation is not a finite number"),
        ([keypoint(1, 1)] * 10_000, "10000 regions, and 2000 are the most"),
        ([None], "not a region"),
        ([{"type": "keypointlabels", "value": None}], "value is NoneType"),
        ([{"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": [{}]}}], "label is dict"),
    ],
)
def test_nonsense_is_refused_with_the_value(regions: list[Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        prompts(*regions)


@pytest.mark.parametrize("context", [[], 5, "x", {"result": {}}, {"result": {"a": 1}}, {"result": "x"}])
def test_a_context_of_another_shape_is_refused_or_empty(context: Any) -> None:
    if context == {"result": {}}:
        assert prompts_from_context(context, height_px=1, width_px=1) == ()
        return
    with pytest.raises(BadInput, match=r"not an object|not a list"):
        prompts_from_context(context, height_px=1, width_px=1)
