"""One region of a request is clicks, a box, a mask to refine, or nothing."""

from typing import Any

import numpy as np
import pytest

from backend.errors import BadInput
from backend.labelstudio.controls.regions import region_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.prompts.marks import Drawn, is_existing, mark_of_region
from backend.labelstudio.rle import encode_mask

SIZE = Size(height_px=6, width_px=8)
MASK = np.pad(np.ones((4, 6), bool), 1)


def brush(**more: Any) -> dict[str, Any]:
    return {"id": "b", "type": "brush", "from_name": "paint", "value": {"rle": encode_mask(MASK)}, **more}


def config(smart: str) -> Any:
    return parse_label_config(
        f'<View><Image name="i" value="$i"/><Brush name="paint" toName="i" smart="{smart}"/></View>'
    )


def test_a_stroke_of_a_smart_brush_is_clicks_along_it() -> None:
    mark = mark_of_region(region_of(brush()), size=SIZE, config=config("true"))
    assert mark is not None
    assert mark.clicks
    assert mark.existing is None
    assert all(MASK[int(click.y_px), int(click.x_px)] for click in mark.clicks)


@pytest.mark.parametrize("more", [{"origin": "prediction"}, {"meta": {"model_version": "v1"}}])
def test_what_a_model_made_is_a_mask_to_refine(more: dict[str, Any]) -> None:
    mark = mark_of_region(region_of(brush(**more)), size=SIZE, config=config("true"))
    assert mark is not None
    assert mark.existing is not None
    assert np.array_equal(mark.existing.mask(), MASK)


def test_so_is_what_was_drawn_with_a_brush_that_is_not_smart() -> None:
    assert is_existing(region_of(brush()), config=config("false"))
    assert not is_existing(region_of(brush()), config=None)


@pytest.mark.parametrize("kind", ["choices", "relation", "vector", "None"])
def test_what_points_at_nothing_is_no_mark(kind: str) -> None:
    assert mark_of_region(region_of({"type": kind}), size=SIZE, config=None) is None


def test_a_mask_that_cannot_be_read_is_told_with_its_type() -> None:
    with pytest.raises(BadInput, match="a region of type brush in the request cannot be used: its brush mask"):
        Drawn(region_of(brush(value={})), SIZE).mask()
