"""Masks become the prediction that shows them, for clicks and batches alike."""

from dataclasses import replace

import numpy as np
import pytest

from backend.labelstudio.controls.choice import Output
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.label_config import Control
from backend.masks.prompt import Click
from backend.sam.predictor import PredictedMask
from backend.serving.answers import PlacedMask, draw_prediction, empty_prediction

BRUSH = Control("brushlabels", "brush", "image", ("Coin",))
STRICT = Control("brushlabels", "strict", "image", ("Coin",), score_threshold=0.9)


def placed(score: float, *, control: Control = BRUSH, empty: bool = False, region_id: str | None = None) -> PlacedMask:
    mask = np.zeros((20, 30), bool)
    mask[5:10, 5:10] = not empty
    predicted = PredictedMask(
        mask=mask, score=score, low_res_logits=np.zeros((256, 256), np.float32), predicted_iou=score
    )
    return PlacedMask(Output(control, "Coin", region_id), predicted)


def test_every_mask_is_drawn_on_its_control_in_order_with_the_version() -> None:
    drawn = draw_prediction(
        [placed(0.5, region_id="standing"), placed(0.95, control=STRICT)], model_version="v1", polygon_tolerance_px=0.5
    )
    assert drawn["model_version"] == "v1"
    assert [region["from_name"] for region in drawn["result"]] == ["brush", "strict"]
    assert [region["score"] for region in drawn["result"]] == [0.5, 0.95]
    assert drawn["result"][0]["id"] == "standing", "it takes the place of the region that it refines"
    assert all(region["meta"] == {"model_version": "v1"} for region in drawn["result"])
    assert 0.5 <= drawn["score"] <= 0.725


@pytest.mark.parametrize("hidden", [placed(0.1, empty=True), placed(0.1, control=STRICT)])
def test_a_mask_that_is_not_shown_does_not_count_in_the_score(hidden: PlacedMask) -> None:
    """Clicks counted it, batches did not."""
    alone = draw_prediction([placed(0.8)], model_version="v1", polygon_tolerance_px=0.5)
    both = draw_prediction([placed(0.8), hidden], model_version="v1", polygon_tolerance_px=0.5)
    assert both["score"] == alone["score"] == pytest.approx(0.8)
    assert len(both["result"]) == 1


def test_without_anything_to_show_the_prediction_is_empty_and_scores_nothing() -> None:
    nothing = {"result": [], "score": 0.0, "model_version": "v1"}
    assert empty_prediction("v1") == nothing
    assert draw_prediction([placed(0.9, empty=True)], model_version="v1", polygon_tolerance_px=0.5) == nothing


@pytest.mark.parametrize(
    ("nothing", "why"),
    [
        ([placed(0.9, empty=True)], "the model sees no object at the prompt: click in the middle"),
        ([placed(0.6, control=STRICT)], "the mask scores 0.600, and model_score_threshold of 'strict' asks for 0.9:"),
        ([], "no prompt points at an object: click on an object"),
    ],
)
def test_a_click_that_shows_nothing_is_told_why(nothing: list[PlacedMask], why: str) -> None:
    asked = draw_prediction(nothing, model_version="v1", polygon_tolerance_px=0.5, is_interactive=True)
    assert (asked["result"], asked["note"][: len(why)]) == ([], why)
    shown = draw_prediction([*nothing, placed(0.8)], model_version="v1", polygon_tolerance_px=0.5, is_interactive=True)
    assert "note" not in shown


@pytest.mark.parametrize(("clicks", "islands"), [((), 1), ((Click(20.5, 15.5),), 2)], ids=["none", "on the island"])
def test_specks_are_not_drawn_unless_they_were_clicked_on(clicks: tuple[Click, ...], islands: int) -> None:
    speckled = placed(0.8)
    speckled.mask.mask[15, 20] = True
    place = PlacedMask(speckled.output, speckled.mask, clicks)
    drawn = draw_prediction([place], model_version="v1", polygon_tolerance_px=0.5, specks_px=4)
    shown = mask_of_region(drawn["result"][0], height_px=20, width_px=30)
    assert np.count_nonzero(shown) == 25 + islands - 1
    assert np.count_nonzero(speckled.mask.mask) == 26, "the decoder's answer is as it was"


def test_prompts_where_the_model_sees_no_object_are_told_with_their_scores_and_the_next_step() -> None:
    seen, first, second = placed(0.8), placed(0.0, empty=True), placed(0.0, empty=True)
    absent = [
        replace(place, mask=replace(place.mask, object_score=score))
        for place, score in ((first, -3.04), (second, -1.5))
    ]
    alone = draw_prediction(absent[:1], model_version="v1", polygon_tolerance_px=0.5)
    assert (alone["result"], alone["score"]) == ([], 0)
    assert alone["note"] == (
        "the model sees no object there (object score -3.0, and a mask needs one above 0): "
        "click on the middle of the object, draw a box around it, or draw it by hand and train"
    )
    mixed = draw_prediction([seen, *absent], model_version="v1", polygon_tolerance_px=0.5)
    assert len(mixed["result"]) == 1
    assert "no object at 2 of 3 prompts (object score -1.5," in mixed["note"]


def test_a_note_stands_in_the_answer_and_where_the_editor_shows_it() -> None:
    noted = replace(placed(0.8), note="only the first 1000 have masks")
    drawn = draw_prediction([noted, placed(0.8)], model_version="v1", polygon_tolerance_px=0.5)
    assert drawn["note"] == "only the first 1000 have masks"
    assert [region["meta"].get("text") for region in drawn["result"]] == [["only the first 1000 have masks"], None]
    assert "note" not in draw_prediction([placed(0.8)], model_version="v1", polygon_tolerance_px=0.5)
