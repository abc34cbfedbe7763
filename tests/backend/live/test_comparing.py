"""What became of a mask: its IoU with what was submitted in its place, and whether it was touched at all."""

import copy
from typing import Any

import numpy as np
import pytest
from fakes.regions import control_of
from hypothesis import given as drawn
from hypothesis import strategies as st

from backend.labelstudio.controls.results import prediction, regions_of_mask
from backend.live.comparing import Comparison, Given, compare, index_prediction, list_region_ids
from backend.live.lines import ComparedMask
from backend.masks.metrics import boundary_iou, iou

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<{0}Labels name="shape" toName="image"><Label value="Coin"/><Label value="Key"/></{0}Labels></View>'
)
MOST = 10**6


def square(x_px: int = 10, *, side_px: int = 20) -> np.ndarray:
    mask = np.zeros((40, 60), np.bool_)
    mask[10 : 10 + side_px, x_px : x_px + side_px] = True
    return mask


def region(mask: np.ndarray, *, kind: str = "Brush", label: str = "Coin", version: str = "v1") -> dict[str, Any]:
    control = control_of(CONFIG.format(kind), f"{kind.lower()}labels")
    assert control is not None
    (made,) = regions_of_mask(mask, control=control, label=label, score=0.9, model_version=version)
    return made


def shown(*regions: dict[str, Any], version: str = "v1") -> dict[str, Given]:
    return index_prediction(prediction(list(regions), model_version=version))


def annotation(*regions: dict[str, Any]) -> dict[str, Any]:
    return {"result": list(regions)}


@pytest.mark.parametrize("kind", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_a_mask_that_is_submitted_as_it_was_given_is_untouched(kind: str) -> None:
    given = region(square(), kind=kind)
    comparison = compare(annotation(copy.deepcopy(given)), shown(given), max_pixels=MOST)
    assert comparison.masks == (ComparedMask(version="v1", label="Coin", iou=1.0, boundary_iou=1.0, untouched=True),)
    assert comparison.unknown == 0


def test_an_accepted_mask_that_is_saved_again_under_its_prompts_type_is_untouched() -> None:
    """With "Keep label selected" the editor adds this second result of the same id."""
    given = region(square())
    again = given | {
        "type": "keypointlabels",
        "from_name": "kp",
        "value": {**given["value"], "keypointlabels": ["Coin"]},
    }
    for results in ([given, again], [again, given]):
        comparison = compare(annotation(*results), shown(given), max_pixels=MOST)
        assert ([mask.untouched for mask in comparison.masks], comparison.unknown) == ([True], 0)


@drawn(dx=st.integers(0, 30), side=st.integers(1, 25))
def test_a_changed_mask_has_the_two_masks_iou_and_boundary_iou(dx: int, side: int) -> None:
    given, changed = region(square()), square(dx, side_px=side)
    submitted = region(changed) | {"id": given["id"], "origin": "prediction-changed"}
    (mask,) = compare(annotation(submitted), shown(given), max_pixels=MOST).masks
    assert mask.iou == pytest.approx(iou(square(), changed))
    assert mask.boundary_iou == pytest.approx(boundary_iou(square(), changed))
    assert mask.untouched == np.array_equal(square(), changed)


def test_another_label_is_a_touch_and_counts_for_the_label_that_was_submitted() -> None:
    given = region(square())
    submitted = region(square(), label="Key") | {"id": given["id"]}
    (mask,) = compare(annotation(submitted), shown(given), max_pixels=MOST).masks
    assert (mask.label, mask.iou, mask.untouched) == ("Key", 1.0, False)


def test_a_predicted_mask_that_was_thrown_away_counts_as_none_and_a_suggestion_that_was_not_taken_does_not() -> None:
    given = shown(region(square()))
    (mask,) = compare(annotation(), given, max_pixels=MOST).masks
    assert (mask.iou, mask.boundary_iou, mask.untouched) == (0.0, 0.0, False)
    suggested = {name: Given(region=region.region, version="v1", shown=False) for name, region in given.items()}
    assert compare(annotation(), suggested, max_pixels=MOST) == Comparison(masks=(), unknown=0)


def test_what_people_drew_themselves_and_prompts_that_stayed_do_not_count() -> None:
    by_hand = region(square()) | {"id": "hand-1", "meta": {}}
    keypoint = {"id": "kp1", "type": "keypointlabels", "value": {"x": 1.0, "y": 1.0, "keypointlabels": ["Coin"]}}
    assert compare(annotation(by_hand, keypoint), {}, max_pixels=MOST) == Comparison(masks=(), unknown=0)


def test_a_mask_of_ours_of_which_nothing_is_known_any_more_is_counted_as_unknown() -> None:
    ours = region(square())
    assert list_region_ids(annotation(ours)) == [ours["id"]]
    assert compare(annotation(ours), {}, max_pixels=MOST) == Comparison(masks=(), unknown=1)


def test_the_prediction_of_another_model_is_not_ours() -> None:
    theirs = region(square())
    del theirs["meta"]
    assert shown(theirs) == {}


@pytest.mark.parametrize(
    "broken",
    [
        {"original_width": 59},
        {"original_width": True},
        {"original_height": -40},
        {"original_height": "tall"},
        {"value": None},
        {"value": {"format": "rle", "rle": [1, 2, 3]}},
        {"original_width": 10**9},
        {"type": "vectorlabels", "value": {"vertices": []}},
        {"value": {"format": "rle", "brushlabels": [7]}},
    ],
)
def test_regions_that_cannot_be_read_are_unknown_on_either_side(broken: dict[str, Any]) -> None:
    ours = region(square())
    odd = ours | broken
    assert compare(annotation(odd), shown(ours), max_pixels=MOST) == Comparison(masks=(), unknown=1)
    assert compare(annotation(ours), shown(odd), max_pixels=MOST) == Comparison(masks=(), unknown=1)


def test_larger_images_than_are_allowed_are_not_compared() -> None:
    given = region(square())
    assert compare(annotation(given), shown(given), max_pixels=40 * 60 - 1) == Comparison(masks=(), unknown=1)
    assert len(compare(annotation(given), shown(given), max_pixels=40 * 60).masks) == 1
