"""Every kind of region becomes a prompt in pixels, one object a label; nonsense is refused."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.payloads import read_payload

from backend.errors import BadInput
from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.label_config import Control, LabelConfig, parse_label_config
from backend.labelstudio.prompts.request import LabelledPrompt, prompts_from_context
from backend.labelstudio.rle import encode_mask
from backend.masks.bounds import find_bounds
from backend.masks.metrics import iou
from backend.masks.prompt import Box, Click, Prompt
from backend.masks.rasterize import fill_ellipse


def keypoint(x: Any, y: Any, *, label: str | None = "Coin", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3} | ({"keypointlabels": [label]} if label else {})
    return {"id": "k", "type": "keypointlabels", "value": value, **more}


def rectangle(x: Any, y: Any, width: Any, height: Any, *, label: str = "Coin", **more: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [label], **more}
    return {"id": "r", "type": "rectanglelabels", "value": value}


def prompts(*regions: Any, height_px: int = 100, width_px: int = 200) -> tuple[LabelledPrompt, ...]:
    return prompts_from_context({"result": list(regions)}, height_px=height_px, width_px=width_px)


def recorded(name: str) -> Any:
    return read_payload(f"{name}.json")["params"]["context"]


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
    assert [(labelled.label, len(labelled.prompt.clicks)) for labelled in found] == [("B", 2), ("A", 1)]


def test_every_rectangle_is_an_object_and_clicks_refine_the_last() -> None:
    found = prompts(rectangle(0, 0, 10, 10), rectangle(50, 50, 10, 10), keypoint(55, 55))
    assert [labelled.prompt for labelled in found] == [
        Prompt(box=Box(0.0, 0.0, 20.0, 10.0)),
        Prompt(clicks=(Click(110.0, 55.0),), box=Box(100.0, 50.0, 120.0, 60.0)),
    ]


@pytest.mark.parametrize("positive", [False, 0, 0.0, "0", "false", "False"])
def test_background_clicks_alone_point_at_nothing(positive: Any) -> None:
    assert prompts(keypoint(10, 10, is_positive=positive)) == ()


def test_other_regions_and_absent_contexts_are_no_prompts() -> None:
    assert prompts({"type": "choices"}, {"type": "vectorlabels", "value": {}}, {}) == ()
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


def ellipse(**more: Any) -> dict[str, Any]:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 0, "ellipselabels": ["Coin"]} | more
    return {"type": "ellipselabels", "value": value}


def empty_stroke() -> dict[str, Any]:
    return drawn(disc()) | {"value": {"format": "rle", "rle": encode_mask(np.zeros((100, 200), bool))}}


def disc(*, x: float = 0.5, y: float = 0.5, radius_px: float = 20.0) -> np.ndarray:
    return fill_ellipse(
        center_x_px=200 * x,
        center_y_px=100 * y,
        radius_x_px=radius_px,
        radius_y_px=radius_px,
        height_px=100,
        width_px=200,
    )


def drawn(mask: np.ndarray, kind: str = "brushlabels", *, label: str = "Coin", **more: Any) -> dict[str, Any]:
    """A region as a person draws it with a smart tool, unless told more."""
    control = Control(kind, "brush", "image", (label,))
    (region,) = regions_of_mask(mask, control=control, label=label, score=1.0, model_version="v")
    return {key: told for key, told in region.items() if key != "meta"} | {"origin": "manual"} | more


def config(attributes: str = "") -> LabelConfig:
    return parse_label_config(
        f'<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image" {attributes}/></View>'
    )


def by_model(region: dict[str, Any], **more: Any) -> dict[str, Any]:
    return region | {"origin": "prediction", "meta": {"model_version": "v1"}, "id": "old"} | more


def test_a_rotated_rectangle_is_the_box_around_it_and_its_inside() -> None:
    (labelled,) = prompts(rectangle(40, 20, 30, 20, rotation=30))
    mask, box = labelled.prompt.mask, labelled.prompt.box
    assert mask is not None
    assert box is not None
    assert mask.sum() == pytest.approx(60 * 20, rel=0.03)
    hull = find_bounds(mask)
    assert hull is not None
    assert dataclasses.astuple(hull.box) == pytest.approx(dataclasses.astuple(box), abs=1.0)
    (plain,) = prompts(rectangle(40, 20, 30, 20, rotation=-180))
    assert plain.prompt.mask is None


def test_an_ellipse_is_the_box_around_it_and_its_inside() -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 30, "ellipselabels": ["Coin"]}
    (labelled,) = prompts({"type": "ellipselabels", "value": value}, keypoint(50, 50))
    mask, box = labelled.prompt.mask, labelled.prompt.box
    assert mask is not None
    assert box is not None
    assert mask.sum() == pytest.approx(math.pi * 20 * 10, rel=0.03)
    hull = find_bounds(mask)
    assert hull is not None
    assert dataclasses.astuple(hull.box) == pytest.approx(dataclasses.astuple(box), abs=1.0)
    assert labelled.prompt.clicks == (Click(100.0, 50.0),)


def test_a_stroke_is_clicks_along_it() -> None:
    stroke = np.zeros((100, 200), bool)
    stroke[48:53, 20:180] = True
    for kind in ("brushlabels", "bitmasklabels"):
        (labelled,) = prompts(drawn(stroke, kind), keypoint(1, 1, is_positive=False))
        *along, away = labelled.prompt.clicks
        assert len(along) == 8
        assert all(stroke[int(click.y_px), int(click.x_px)] and click.is_foreground for click in along)
        assert min(click.x_px for click in along) < 30
        assert max(click.x_px for click in along) > 170
        assert not away.is_foreground
        assert labelled.prompt.mask is None
        assert labelled.refines is None


@pytest.mark.parametrize("kind", ["brushlabels", "bitmasklabels", "polygonlabels"])
def test_clicks_refine_a_mask_that_a_model_made(kind: str) -> None:
    coin = disc()
    (labelled,) = prompts(by_model(drawn(coin, kind)), keypoint(50, 50), keypoint(5, 5, is_positive=False))
    assert labelled.prompt.mask is not None
    assert iou(labelled.prompt.mask, coin) > 0.97
    assert labelled.refines is not None
    assert labelled.refines.region_id == "old"
    assert labelled.prompt.clicks == (Click(100.0, 50.0), Click(10.0, 5.0, is_foreground=False))


@pytest.mark.parametrize(
    ("more", "attributes", "refined"),
    [
        ({}, "", False),
        ({}, 'smart="true"', False),
        ({}, 'smart="false"', True),
        ({"origin": "prediction"}, 'smart="true"', True),
        ({"origin": "prediction-changed"}, "", True),
        ({"meta": {"model_version": "v"}}, "", True),
        ({"meta": "text"}, "", False),
    ],
)
def test_a_brush_is_a_stroke_unless_a_model_or_a_control_that_is_not_smart_drew_it(
    more: dict[str, Any], attributes: str, refined: bool
) -> None:
    context = {"result": [drawn(disc(), **more), keypoint(50, 50)]}
    (labelled,) = prompts_from_context(context, height_px=100, width_px=200, config=config(attributes))
    assert (labelled.refines is not None) is refined
    assert (labelled.prompt.mask is not None) is refined


def test_a_mask_is_never_refined_without_a_click_inside() -> None:
    """A background click alone on a mask of a coin gave all but the coin."""
    coin = disc()
    (labelled,) = prompts(by_model(drawn(coin)), keypoint(50, 50, is_positive=False))
    inside, away = labelled.prompt.clicks
    assert coin[int(inside.y_px), int(inside.x_px)]
    assert inside.is_foreground
    assert math.hypot(inside.x_px - 100, inside.y_px - 50) > 5
    assert away == Click(100.0, 50.0, is_foreground=False)


def test_clicks_refine_the_mask_that_they_lie_in_and_leave_the_others_as_they_are() -> None:
    left, right = by_model(drawn(disc(x=0.2)), id="left"), by_model(drawn(disc(x=0.8)), id="right")
    (labelled,) = prompts(left, right, keypoint(50, 5, is_positive=False), keypoint(20, 50))
    assert labelled.refines is not None
    assert labelled.refines.region_id == "left"
    (labelled,) = prompts(left, right, keypoint(50, 5))
    assert labelled.refines is not None
    assert labelled.refines.region_id == "right", "no click lies in one: the newest"
    assert prompts(left, right) == ()


def test_a_box_and_a_mask_under_one_label_are_two_objects() -> None:
    boxed, refined = prompts(by_model(drawn(disc(x=0.2))), rectangle(60, 10, 20, 40), keypoint(20, 50))
    assert boxed.prompt == Prompt(box=Box(120.0, 10.0, 160.0, 50.0))
    assert refined.refines is not None
    assert refined.prompt.clicks == (Click(40.0, 50.0),)


def test_regions_without_a_label_go_with_the_newest_label() -> None:
    found = prompts(keypoint(10, 10, label=None), keypoint(20, 20, label="A"), keypoint(30, 30, label="B"))
    assert [(labelled.label, len(labelled.prompt.clicks)) for labelled in found] == [("B", 2), ("A", 1)]


def task_of(**holders: Any) -> dict[str, Any]:
    return {"drafts": [], "annotations": [], "predictions": []} | {
        name: [{"result": [region], "updated_at": "2026"}] for name, region in holders.items()
    }


def refined_id(task: dict[str, Any], *clicks: dict[str, Any]) -> str | None:
    found = prompts_from_context({"result": list(clicks)}, height_px=100, width_px=200, task=task)
    return found[0].refines.region_id if found and found[0].refines else None


def test_a_background_click_refines_the_region_of_the_task_that_it_lies_in() -> None:
    """The editor sends the prompts alone; its server sends the task with what stands on the canvas."""
    coin = drawn(disc())
    alone, outside = keypoint(50, 45, is_positive=False), keypoint(5, 5, is_positive=False)
    draft, predicted = coin | {"id": "draft"}, coin | {"id": "predicted"}
    assert refined_id(task_of(predictions=predicted), alone) == "predicted"
    assert refined_id(task_of(annotations=draft, predictions=predicted), alone) == "draft"
    assert refined_id(task_of(drafts=draft, predictions=predicted), alone, keypoint(60, 50)) == "draft"
    assert refined_id(task_of(drafts=draft, predictions=predicted), outside) is None
    assert refined_id(task_of(drafts=draft), keypoint(50, 45)) is None, "a first click on an object is a new object"
    assert refined_id(task_of(drafts=drawn(disc(), label="Brick")), alone) is None


@pytest.mark.parametrize(
    "task",
    [
        {"drafts": "x"},
        {"drafts": [None, {"result": 5}]},
        {"drafts": [{"result": [None, {"type": "brushlabels"}]}]},
        {"drafts": [{"result": [{"type": "brushlabels", "value": {"brushlabels": [{}]}}]}]},
        task_of(drafts={"type": "brushlabels", "id": "b", "value": {"rle": [1], "brushlabels": ["Coin"]}}),
    ],
)
def test_a_task_that_cannot_be_read_is_passed_over(task: dict[str, Any]) -> None:
    assert refined_id(task, keypoint(50, 50, is_positive=False)) is None


@given(
    x=st.floats(0, 100),
    y=st.floats(0, 100),
    w=st.floats(0.01, 100),
    h=st.floats(0.01, 100),
    rotation=st.floats(-1e6, 1e6),
)
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
    ("region", "box"),
    [
        (rectangle(-3, 10, 13, 20), Box(0.0, 10.0, 20.0, 30.0)),
        (rectangle(90, 10, 14, 20), Box(180.0, 10.0, 200.0, 30.0)),
        (rectangle(10, 30, 20, -20), Box(20.0, 10.0, 60.0, 30.0)),
        (rectangle(30, 10, -20, 20), Box(20.0, 10.0, 60.0, 30.0)),
        (rectangle(-50, -50, 1e9, 1e9), Box(0.0, 0.0, 200.0, 100.0)),
        (ellipse(x=-5), Box(0.0, 40.0, 10.0, 60.0)),
        (ellipse(radiusX=-10, radiusY=-10), Box(80.0, 40.0, 120.0, 60.0)),
    ],
)
def test_what_of_a_box_lies_in_the_image_is_the_prompt_whatever_side_it_was_drawn_from(
    region: dict[str, Any], box: Box
) -> None:
    """Detectors write boxes beyond the edge, and old versions of Label Studio exported sides below 0."""
    (labelled,) = prompts(region)
    assert labelled.prompt.box == box


def test_a_turned_rectangle_may_be_wider_than_the_image_is_as_on_a_tall_one() -> None:
    """Its width is in per cent of the image's width also where it runs along the height (from the real editor)."""
    bone = rectangle(29.74504249291785, 80.0, 599.1501416430596, 4.957507082152973, rotation=270)
    (labelled,) = prompts(bone, height_px=1000, width_px=100)
    box = labelled.prompt.box
    assert box is not None
    assert (box.x0_px, box.y0_px, box.x1_px, box.y1_px) == pytest.approx((29.75, 200.85, 79.32, 800.0), abs=0.01)


def test_the_box_of_a_turned_rectangle_is_that_of_its_part_in_the_image() -> None:
    """Its named corner lies at x = -30 %, and its upper end within the image."""
    (labelled,) = prompts(rectangle(-30, 50, 120, 4, rotation=330), height_px=1000, width_px=100)
    box = labelled.prompt.box
    assert box is not None
    assert box.x0_px == 0.0
    # The upper side runs from (-30, 500) by 120 px at 30 degrees: it enters the image at x = 0.
    assert box.y0_px == pytest.approx(500 - 120 * math.sin(math.radians(30)))
    assert box.y1_px < 540
    assert labelled.prompt.mask is not None


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
        ([rectangle(10, 10, 0, 10)], "a rectangle has no area in the image"),
        ([rectangle(10, 10, 10, 2e9)], "height is not a finite number"),
        ([rectangle(100, 10, 5, 5)], "no area in the image"),
        ([rectangle(0, 10, -5, 5)], "no area in the image"),
        ([rectangle(-20, -20, 25, 25, rotation=45)], "no area in the image"),
        ([rectangle(10, 10, 5, 5, rotation=math.nan)], "rotation is not a finite number"),
        ([rectangle(10, 10, 5, 5, rotation="x")], "rotation is str"),
        ([ellipse(radiusX=0)], "an ellipse has a radius of 0"),
        ([ellipse(radiusY=2e9)], "radiusY is not a finite number"),
        ([ellipse(x=-50)], "an ellipse has no area in the image"),
        ([ellipse(rotation=math.inf)], "rotation is not a finite number"),
        (
            [drawn(np.zeros((100, 200), bool) | disc(radius_px=1.0), value={"rle": [1]})],
            "cannot be used: value.rle has",
        ),
        ([drawn(disc(), original_width=7)], "cannot be used: it was drawn on 7x100 pixels"),
        ([empty_stroke()], "a brush stroke is empty; draw it again"),
        ([by_model(drawn(disc()), value={"format": "rle", "rle": [300]}), keypoint(1, 1)], "cannot be used: value.rle"),
        ([by_model(drawn(disc(), "polygonlabels"), value={"points": [[1, 2]]}), keypoint(1, 1)], "its polygon is not"),
        ([by_model(drawn(disc()))] * 65, "65 masks; at most 64 are allowed"),
        ([keypoint(1, 1)] * 10_000, "10000 regions; at most 2000 are allowed"),
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
