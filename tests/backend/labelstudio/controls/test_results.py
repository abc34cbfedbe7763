"""Regions carry what Label Studio needs, a unique id and the model's version."""

import json
import math

import numpy as np
import pytest
from fakes.regions import brush_region, control_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from backend.labelstudio.controls.regions import mask_of_region, regions_of
from backend.labelstudio.controls.results import prediction, regions_of_mask
from backend.labelstudio.label_config import Control
from backend.labelstudio.rle import decode_mask
from backend.masks.metrics import iou
from backend.masks.rasterize import fill_ellipse

BRUSH = Control("brushlabels", "brush", "image", ("Coin",))
MASK = np.eye(3, 5, dtype=bool)


def test_a_region_has_the_recorded_shape_and_its_mask_comes_back() -> None:
    region = brush_region(MASK, control=BRUSH, label="Coin", score=0.9, model_version="v1")
    assert {key: region[key] for key in ("from_name", "to_name", "type", "original_width", "original_height")} == {
        "from_name": "brush",
        "to_name": "image",
        "type": "brushlabels",
        "original_width": 5,
        "original_height": 3,
    }
    assert region["meta"] == {"model_version": "v1"}
    assert region["value"]["brushlabels"] == ["Coin"]
    assert np.array_equal(decode_mask(region["value"]["rle"], height_px=3, width_px=5), MASK)
    json.dumps(region, allow_nan=False)


def test_every_region_has_its_own_id_unless_told() -> None:
    ids = {brush_region(MASK, control=BRUSH, label="A", score=1.0, model_version="v")["id"] for _ in range(100)}
    assert len(ids) == 100
    assert brush_region(MASK, control=BRUSH, label="A", score=1.0, model_version="v", region_id="x")["id"] == "x"


def test_without_a_label_or_with_a_plain_brush_no_label_is_written() -> None:
    assert set(brush_region(MASK, control=BRUSH, label=None, score=1.0, model_version="v")["value"]) == {
        "format",
        "rle",
    }
    plain = Control("brush", "brush", "image")
    assert set(brush_region(MASK, control=plain, label="A", score=1.0, model_version="v")["value"]) == {"format", "rle"}


@pytest.mark.parametrize(
    ("score", "written"), [(math.nan, 0), (math.inf, 0), (1.2, 1), (-3, 0), (np.float32(0.5), 0.5)]
)
def test_scores_are_finite_numbers_from_0_to_1(score: float, written: float) -> None:
    region = brush_region(MASK, control=BRUSH, label="A", score=float(score), model_version="v")
    assert region["score"] == written
    assert prediction([region], model_version="v")["score"] == written


def test_a_prediction_takes_the_mean_score_and_names_its_version() -> None:
    regions = [brush_region(MASK, control=BRUSH, label="A", score=s, model_version="v") for s in (0.25, 0.75)]
    assert prediction(regions, model_version="v") == {"result": regions, "score": 0.5, "model_version": "v"}
    assert prediction([], model_version="v")["score"] == 0
    assert prediction(regions, model_version="v", score=0.1)["score"] == 0.1


def regions(mask: np.ndarray, kind: str, **more: object) -> list[dict]:
    control = Control(kind, "out", "image", ("Coin",) if kind.endswith("labels") else ())
    told = {"control": control, "label": "Coin", "score": 0.9, "model_version": "v1"} | more
    return regions_of_mask(mask, **told)


def read_back(found: list[dict], shape: tuple[int, int]) -> np.ndarray:
    read = [mask_of_region(r, height_px=shape[0], width_px=shape[1], rectangles_are_masks=True) for r in found]
    return np.logical_or.reduce([*read, np.zeros(shape, bool)])


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random(shape)
    smooth = ndimage.gaussian_filter(noise, draw(st.floats(0.0, 4.0)))
    return smooth >= np.quantile(smooth, draw(st.floats(0.0, 1.0)))


@settings(deadline=None)
@given(masks(), st.sampled_from(["brushlabels", "bitmasklabels", "brush", "bitmask"]))
def test_brushes_and_bitmasks_give_the_mask_back_exactly(mask: np.ndarray, kind: str) -> None:
    (region,) = regions(mask, kind)
    assert np.array_equal(read_back([region], mask.shape), mask)
    assert region["value"].get(kind) == (["Coin"] if kind.endswith("labels") else None)
    json.dumps(region, allow_nan=False)


@st.composite
def ellipses(draw: st.DrawFn) -> np.ndarray:
    return fill_ellipse(
        center_x_px=draw(st.floats(80.0, 120.0)),
        center_y_px=draw(st.floats(60.0, 90.0)),
        radius_x_px=draw(st.floats(10.0, 50.0)),
        radius_y_px=draw(st.floats(10.0, 50.0)),
        rotation_deg=draw(st.floats(-360.0, 360.0)),
        height_px=150,
        width_px=200,
    )


@settings(deadline=None)
@given(ellipses(), st.sampled_from(["", "labels"]))
def test_the_other_shapes_give_a_true_ellipse_back_as_well_as_they_can(mask: np.ndarray, suffix: str) -> None:
    for shape, least in (("polygon", 0.96), ("ellipse", 0.97)):
        (region,) = regions(mask, shape + suffix)
        assert iou(read_back([region], mask.shape), mask) > least
    (box,) = regions(mask, "rectangle" + suffix)
    rows, columns = np.nonzero(mask)
    hull = np.zeros_like(mask)
    hull[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert np.array_equal(read_back([box], mask.shape), hull)


@settings(deadline=None)
@given(masks(), st.sampled_from(["polygonlabels", "ellipselabels", "rectanglelabels"]))
def test_every_region_of_any_mask_is_sound_json_that_reads_back(mask: np.ndarray, kind: str) -> None:
    found = regions(mask, kind)
    assert found
    assert read_back(found, mask.shape).any() or kind != "rectanglelabels"
    assert len({region["id"] for region in found}) == len(found)
    assert all(region["meta"] == {"model_version": "v1"} and region["value"][kind] == ["Coin"] for region in found)
    json.dumps(found, allow_nan=False)


def test_parts_are_regions_of_their_own_and_the_first_takes_the_given_id() -> None:
    mask = np.zeros((40, 60), bool)
    mask[5:35, 5:25] = mask[10:20, 40:50] = True
    large, small = regions(mask, "polygonlabels", region_id="old")
    assert large["id"] == "old"
    assert small["id"].startswith("samloop-")
    assert np.array_equal(read_back([large], mask.shape)[:, :30], mask[:, :30])
    (ellipse,) = regions(mask, "ellipselabels", region_id="old")
    assert ellipse["id"] == "old"


def test_a_speck_far_away_widens_no_box() -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:40, 10:50] = mask[98, 98] = True
    (box,) = regions(mask, "rectanglelabels")
    assert read_back([box], mask.shape).sum() == 30 * 40
    (ellipse,) = regions(mask, "ellipselabels")
    assert ellipse["value"]["x"] == pytest.approx(30)


def test_the_controls_own_tolerance_goes_before_the_setting() -> None:
    mask = fill_ellipse(
        center_x_px=100.0, center_y_px=100.0, radius_x_px=90.0, radius_y_px=60.0, height_px=200, width_px=200
    )
    coarse = Control("polygonlabels", "out", "image", ("Coin",), polygon_tolerance_px=5.0)
    (few,) = regions(mask, "polygonlabels", control=coarse, polygon_tolerance_px=0.1)
    (many,) = regions(mask, "polygonlabels", polygon_tolerance_px=0.1)
    assert len(few["value"]["points"]) < len(many["value"]["points"]) / 3


def test_an_empty_mask_and_one_below_the_threshold_give_no_region() -> None:
    assert regions(np.zeros((4, 4), bool), "brushlabels") == []
    careful = Control("brushlabels", "out", "image", ("Coin",), score_threshold=0.5)
    assert regions(MASK, "brushlabels", control=careful, score=0.49) == []
    assert len(regions(MASK, "brushlabels", control=careful, score=0.5)) == 1


def test_an_ellipse_on_a_flat_image_is_in_per_cent_of_the_sides_it_lies_along() -> None:
    mask = fill_ellipse(
        center_x_px=100.0,
        center_y_px=20.0,
        radius_x_px=40.0,
        radius_y_px=10.0,
        rotation_deg=20.0,
        height_px=40,
        width_px=400,
    )
    (region,) = regions(mask, "ellipselabels")
    value = region["value"]
    assert (value["x"], value["y"]) == pytest.approx((25, 50), abs=0.5)
    assert (value["radiusX"], value["radiusY"]) == pytest.approx((10, 25), rel=0.05)
    assert value["rotation"] == pytest.approx(20, abs=2)


LABELS_TAG = (
    '<View><Labels name="kind" toName="image"><Label value="Cell"/><Label value="Other"/></Labels>'
    '<Image name="image" value="$image"/><Brush name="paint" toName="image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Vessel"/></BrushLabels></View>'
)


def test_a_label_of_a_labels_tag_follows_its_mask_under_the_same_id() -> None:
    control = control_of(LABELS_TAG, "brush")
    drawn, named = regions_of_mask(MASK, control=control, label="Cell", score=0.9, model_version="v1")
    assert (drawn["type"], drawn["from_name"]) == ("brush", "paint")
    assert (named["id"], named["type"], named["from_name"]) == (drawn["id"], "labels", "kind")
    assert named["value"]["labels"] == ["Cell"]
    (read,) = regions_of([drawn, named])
    assert (read.label, read.model_version) == ("Cell", "v1")


def test_a_labels_tag_takes_a_label_that_the_tasks_data_name() -> None:
    control = control_of(LABELS_TAG.replace('name="kind"', 'name="kind" value="$kinds"'), "brush")
    _, named = regions_of_mask(MASK, control=control, label="Spore", score=0.9, model_version="v1")
    assert (named["from_name"], named["value"]["labels"]) == ("kind", ["Spore"])


def test_an_interactive_answer_leaves_that_result_to_the_editor() -> None:
    control = control_of(LABELS_TAG, "brush")
    told = {"control": control, "label": "Cell", "score": 0.9, "model_version": "v1"}
    assert [result["type"] for result in regions_of_mask(MASK, is_interactive=True, **told)] == ["brush"]


@pytest.mark.parametrize("label", ["Vessel", None])
def test_a_label_that_no_labels_tag_has_is_not_written_beside(label: str | None) -> None:
    control = control_of(LABELS_TAG, "brush")
    found = regions_of_mask(MASK, control=control, label=label, score=0.9, model_version="v1")
    assert [result["type"] for result in found] == ["brush"]
