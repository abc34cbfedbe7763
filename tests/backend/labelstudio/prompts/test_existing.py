"""A click finds the newest region that it lies in, of what stands on the canvas."""

from typing import Any

import numpy as np
import pytest

from backend.labelstudio.controls.shape import Size
from backend.labelstudio.prompts.existing import existing_under
from backend.labelstudio.rle import encode_mask
from backend.masks.prompt import Click

SIZE = Size(height_px=6, width_px=8)


def brush(name: str, columns: slice, *, label: str = "Coin") -> dict[str, Any]:
    mask = np.zeros((6, 8), bool)
    mask[:, columns] = True
    value = {"rle": encode_mask(mask), "brushlabels": [label]}
    return {"id": name, "type": "brushlabels", "value": value}


def found(task: dict[str, Any], *, x_px: float = 1.5, label: str | None = "Coin") -> str | None:
    existing = existing_under(task, click=Click(x_px, 2.0), label=label, size=SIZE)
    return None if existing is None else existing.region_id


LEFT, WIDE = brush("left", slice(0, 3)), brush("wide", slice(0, 8))


def test_the_newest_region_under_the_click_is_found() -> None:
    task = {"annotations": [{"result": [LEFT, WIDE]}]}
    assert found(task) == "wide"
    assert found({"annotations": [{"result": [WIDE, LEFT]}]}) == "left"
    assert found({"annotations": [{"result": [LEFT]}]}, x_px=6.0) is None


def test_a_draft_goes_before_an_annotation_and_that_before_a_prediction() -> None:
    holders = {"predictions": [{"result": [WIDE]}], "annotations": [{"result": [LEFT]}]}
    assert found(holders) == "left"
    assert found(holders | {"drafts": [{"result": []}]}) is None, "an empty canvas shows nothing"


@pytest.mark.parametrize(("label", "expected"), [("Coin", "left"), (None, "left"), ("Other", None)])
def test_a_region_of_another_label_is_not_meant(label: str | None, expected: str | None) -> None:
    assert found({"drafts": [{"result": [LEFT]}]}, label=label) == expected


def test_a_region_that_cannot_be_read_is_passed_over() -> None:
    broken = LEFT | {"value": {"rle": [1], "brushlabels": ["Coin"]}}
    assert found({"drafts": [{"result": [LEFT, broken, {"type": "brush"}, None]}]}) == "left"


def test_what_was_erased_in_the_draft_is_no_part_of_the_region() -> None:
    erased = {"type": "eraser", "relativePoints": [0, 50, 25, 50], "relativeStrokeWidth": 100}
    draft = WIDE | {"value": WIDE["value"] | {"touches": [erased]}}
    assert found({"drafts": [{"result": [WIDE]}]}) == "wide"
    assert found({"drafts": [{"result": [draft]}]}) is None
