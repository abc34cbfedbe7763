"""Regions carry what Label Studio needs, a unique id and the model's version."""

import json
import math

import numpy as np
import pytest

from backend.labelstudio.label_config import Control
from backend.labelstudio.results import brush_region, prediction
from backend.labelstudio.rle import decode_mask

BRUSH = Control("brushlabels", "brush", "image", ("Coin",))
MASK = np.eye(3, 5, dtype=bool)


def test_a_region_has_the_recorded_shape_and_its_mask_comes_back() -> None:
    region = brush_region(MASK, control=BRUSH, label="Coin", score=0.9, model_version="v1")
    assert {key: region[key] for key in ("from_name", "to_name", "type", "original_width", "original_height")} == {
        "from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": 5, "original_height": 3,
    }  # fmt: skip
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
