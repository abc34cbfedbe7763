"""Every kind of region becomes the mask that Label Studio shows, or is refused with a reason."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.regions import brush_region
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.odd_values import JSON, ODD, Place, list_places, put
from support.payloads import read_payload
from support.pictures import encode_image, write_data_uri

from backend.errors import UnusableRegion
from backend.labelstudio.controls.regions import mask_of_region, regions_of
from backend.labelstudio.controls.shape import Size
from backend.labelstudio.label_config import Control


def region(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    frame = {"original_width": 16, "original_height": 12, "image_rotation": 0}
    return {"type": kind, "value": value} | frame | more


def mask(of: Any, *, rectangles_are_masks: bool = False) -> np.ndarray:
    return mask_of_region(of, height_px=12, width_px=16, rectangles_are_masks=rectangles_are_masks)


def data_url(image: Image.Image, *, form: str = "PNG") -> str:
    return write_data_uri(encode_image(image, form))


def test_recorded_regions_of_every_geometry_are_read_or_refused() -> None:
    body = read_payload("41-webhook-ANNOTATION_CREATED.json")
    by_type = {region["type"]: region for region in body["annotation"]["result"]}
    assert mask(by_type["brushlabels"]).any()
    assert mask(by_type["polygonlabels"]).any()
    assert mask(by_type["ellipselabels"]).any()
    box = mask(by_type["rectanglelabels"], rectangles_are_masks=True)
    # 10 %, 20 %, 30 %, 40 % of 16x12: columns with centres in 1.6..6.4, rows with centres in 2.4..7.2.
    assert np.array_equal(np.argwhere(box).min(axis=0), (2, 2))
    assert np.array_equal(np.argwhere(box).max(axis=0), (6, 5))
    assert box.sum() == 5 * 4
    assert mask(by_type["vectorlabels"]).any()
    for kind in ("keypointlabels", "choices"):
        with pytest.raises(UnusableRegion, match=f"type {kind} is not a mask"):
            mask(by_type[kind])


@pytest.mark.nuclei
def test_every_region_of_a_real_export_is_a_mask_of_its_image(nuclei_dir: Path) -> None:
    tasks = json.loads((nuclei_dir / "export.json").read_text())
    regions = [region for task in tasks for annotation in task["annotations"] for region in annotation["result"]]
    assert len(regions) > 300
    for region in regions:
        found = mask_of_region(region, height_px=region["original_height"], width_px=region["original_width"])
        again = brush_region(found, control=Control("brushlabels", "b", "i"), label="A", score=1.0, model_version="v")
        assert found.any()
        assert again["value"]["rle"] == region["value"]["rle"]


def test_our_own_brush_region_comes_back() -> None:
    drawn = np.random.default_rng(0).random((12, 16)) > 0.5
    ours = brush_region(drawn, control=Control("brushlabels", "b", "i"), label="A", score=1.0, model_version="v")
    assert np.array_equal(mask(ours), drawn)


def test_a_polygon_is_in_per_cent_of_the_image() -> None:
    square = mask(region("polygonlabels", {"points": [[25, 0], [75, 0], [75, 50], [25, 50]], "closed": True}))
    expected = np.zeros((12, 16), bool)
    expected[:6, 4:12] = True
    assert np.array_equal(square, expected)


def test_an_ellipse_as_wide_as_the_image_covers_about_pi_quarters() -> None:
    whole = mask(region("ellipse", {"x": 50, "y": 50, "radiusX": 50, "radiusY": 50, "rotation": 0}))
    assert whole.mean() == pytest.approx(math.pi / 4, abs=0.03)


def test_a_bitmask_is_the_alpha_of_its_png() -> None:
    drawn = np.random.default_rng(1).random((12, 16)) > 0.5
    rgba = np.zeros((12, 16, 4), np.uint8)
    rgba[..., 3] = np.where(drawn, 255, 0)
    assert np.array_equal(mask(region("bitmasklabels", {"imageDataURL": data_url(Image.fromarray(rgba))})), drawn)


def test_a_mask_may_be_empty_and_a_frame_may_be_untold() -> None:
    assert not mask({"type": "ellipse", "value": {"x": 5, "y": 5, "radiusX": 0, "radiusY": 3}}).any()


def test_a_rectangle_is_a_mask_only_when_asked() -> None:
    box = region("rectanglelabels", {"x": 0, "y": 0, "width": 50, "height": 100, "rotation": 0})
    assert mask(box, rectangles_are_masks=True).sum() == 8 * 12
    with pytest.raises(UnusableRegion, match="a box, not a mask"):
        mask(box)


def test_what_was_drawn_in_a_turned_view_is_read_as_it_stands() -> None:
    """Label Studio 1.23.2 writes `image_rotation` on every region, and leaves values in the unturned frame."""
    drawn = np.random.default_rng(3).random((12, 16)) > 0.5
    ours = brush_region(drawn, control=Control("brush", "b", "i"), label=None, score=1.0, model_version="v")
    assert np.array_equal(mask(ours | {"image_rotation": 90}), drawn)
    square = {"points": [[25, 0], [75, 0], [75, 50], [25, 50]]}
    turned, unturned = (region("polygon", square, image_rotation=turn) for turn in (270, 0))
    assert np.array_equal(mask(turned), mask(unturned))


@pytest.mark.parametrize("size", [(8, 6), (32, 24), (1600, 1200), (5, 4), (1601, 1200)])
def test_per_cent_fit_an_image_that_was_resized_since(size: tuple[int, int]) -> None:
    width, height = size
    frame = {"original_width": width, "original_height": height}
    assert np.array_equal(mask(region("ellipse", ROUND, **frame)), mask(region("ellipse", ROUND)))


@pytest.mark.parametrize(
    "size", [(None, None), (0, 0), (16, None), (0, 12), ("", ""), (8.0, 6.0), ("8.0", "6.0"), (math.nan, "None")]
)
def test_a_size_that_a_converter_left_out_refuses_nothing(size: tuple[Any, Any]) -> None:
    frame = dict(zip(("original_width", "original_height"), size, strict=True))
    assert np.array_equal(mask(region("ellipse", ROUND, **frame)), mask(region("ellipse", ROUND)))


ROUND = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 20, "rotation": 0}
POLYGON = {"points": [[0, 0], [9, 0], [9, 9]]}
BITMASK = "data:image/png;base64,"


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        (None, "no value"),
        ({"type": "brushlabels"}, "no value"),
        (region("brushlabels", []), "no value"),
        (region("keypointlabels", {"x": 1, "y": 1}), "type keypointlabels is not a mask"),
        (region("x" * 9999, {}), "type x{40} is not a mask"),
        (region("polygonlabels", POLYGON, original_width=12, original_height=16), "12x16 pixels, but .* has 16x12"),
        (region("polygonlabels", POLYGON, original_width="wide"), "drawn on strx12"),
        (region("ellipse", ROUND, original_width=20, original_height=12), "drawn on 20x12"),
        (region("ellipse", ROUND, original_width=-16, original_height=-12), "drawn on -16x-12"),
        (region("ellipse", ROUND, original_width=math.inf, original_height=math.inf), "drawn on infxinf"),
        (region("bitmask", {"imageDataURL": ""}, original_width=12, original_height=16), "drawn on 12x16"),
        (region("brushlabels", {"rle": []}, original_width=8, original_height=6), "drawn on 8x6"),
        (region("polygonlabels", POLYGON | {"closed": False}), "not closed"),
        (region("polygonlabels", {"points": [[0, 0], [9, 9]]}), "3 to 100000 points"),
        (region("polygonlabels", {"points": [[0, 0]] * 100_001}), "3 to 100000 points"),
        (region("polygonlabels", {"points": [[0, 0], [1, 1], [1]]}), "not a pair"),
        (region("polygonlabels", {"points": [[0, 0], [1, 1], [math.nan, 1]]}), "x is not a finite number"),
        (region("polygonlabels", {"points": [[0, 0], [1, 1], [1, 10**500]]}), "y is not a finite number"),
        (region("polygonlabels", {"points": [[0, 0], [1, 1], [1, "1"]]}), "y is str"),
        (region("ellipse", {"x": 5, "y": 5, "radiusX": math.inf, "radiusY": 3}), "radiusX is not a finite"),
        (region("brushlabels", {"format": "png", "rle": []}), "rle format"),
        (region("brushlabels", {"touches": []}), "rle format"),
        (region("brushlabels", {"rle": [0, 0, 0, 4, 57, 27, 0]}), "holds 4 values"),
        (region("bitmask", {"imageDataURL": None}), "PNG as a data: URL"),
        (region("bitmask", {"imageDataURL": "http://127.0.0.1/x.png"}), "PNG as a data: URL"),
        (region("bitmask", {"imageDataURL": BITMASK + "!!!"}), "not a PNG that can be read"),
        (region("bitmask", {"imageDataURL": BITMASK + "AAAA"}), "not a PNG that can be read"),
        (region("bitmask", {"imageDataURL": BITMASK + "A" * 100_000}), "too many for 16x12"),
        (region("bitmask", {"imageDataURL": data_url(Image.new("RGBA", (13000, 2)))}), "13000x2 pixels, not 16x12"),
        (region("bitmask", {"imageDataURL": data_url(Image.new("RGBA", (1600, 1200)))}), "1600x1200 pixels, not 16x12"),
        (region("bitmask", {"imageDataURL": data_url(Image.new("RGB", (16, 12)))}), "no transparency"),
        (region("bitmask", {"imageDataURL": data_url(Image.new("RGB", (16, 12)), form="GIF")}), "not a PNG that"),
        (region("bitmask", {"imageDataURL": data_url(Image.new("RGBA", (16, 12)))[:-40]}), "not a PNG that can be"),
    ],
)
def test_what_is_no_mask_of_this_image_is_refused_with_the_reason(unusable: Any, reason: str) -> None:
    with pytest.raises(UnusableRegion, match=reason) as caught:
        mask(unusable)
    assert caught.value.reason == str(caught.value)


CELL = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}


@pytest.mark.parametrize("kind", ["polygonlabels", "rectanglelabels", "labels", "ellipse"])
def test_the_value_says_what_a_region_draws_whatever_its_type_is(kind: str) -> None:
    drawn = np.random.default_rng(4).random((12, 16)) > 0.5
    ours = brush_region(drawn, control=Control("brush", "b", "i"), label=None, score=1.0, model_version="v")
    assert np.array_equal(mask(ours | {"type": kind}), drawn)
    outline = {"points": [[25, 0], [75, 0], [75, 50], [25, 50]]}
    assert mask(region(kind, outline)).sum() == 8 * 6


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_keys_of_other_shapes_without_a_value_say_nothing(nothing: float | None) -> None:
    filled = dict.fromkeys(("rle", "points", "imageDataURL", "radiusX", "vertices", "format"), nothing)
    (box,) = regions_of([region("rectanglelabels", filled | CELL)])
    assert box.shape.name == "rectangle"
    (outline,) = regions_of([region("labels", dict.fromkeys(CELL, nothing) | filled | POLYGON)])
    assert outline.shape.name == "polygon"


def test_a_labels_result_without_a_drawing_beside_it_is_the_region() -> None:
    named = region("labels", CELL | {"labels": ["Cell"]}, id="d1", from_name="kind")
    nothing = region("labels", {"labels": ["Cell"]}, id="d2")
    text = region("textarea", CELL | {"text": ["x"]}, id="d1")
    for results in ([named, nothing], [text, named, nothing]):
        (found,) = (one for one in regions_of(results) if one.shape is not None)
        assert (found.shape.name, found.label, found.from_name) == ("rectangle", "Cell", "kind")


def test_results_are_joined_by_ids_that_are_numbers_too() -> None:
    drawn, named = region("rectangle", CELL, id=7), region("labels", CELL | {"labels": ["Cell"]}, id=7.0)
    (found,) = regions_of([drawn, named])
    assert (found.label, found.region_id) == ("Cell", "7")
    assert len(list(regions_of([drawn | {"id": None}, drawn | {"id": None}, drawn | {"id": ""}]))) == 3


def test_labels_under_the_name_of_the_control_with_labels_are_labels() -> None:
    (found,) = regions_of([region("polygon", POLYGON | {"polygonlabels": ["Cell"]})])
    assert found.label == "Cell"


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("polygonlabels", {"brushlabels": ["Cell"]}),  # as converters mix them up; the editor renames the key
        ("brushlabels", {"polygonlabels": ["Cell"]}),
        ("PolygonLabels", {"polygonlabels": ["Cell"]}),
        ("PolygonLabels", {"PolygonLabels": ["Cell"]}),
        ("polygonlabels", {"polygonlabels": [None, "Cell"]}),
        ("polygonlabels", {"polygonlabels": "Cell"}),
        (None, {"polygonlabels": ["Cell"]}),
    ],
)
def test_a_label_is_read_whatever_control_its_key_names(kind: str | None, labels: dict[str, Any]) -> None:
    (found,) = regions_of([region(kind, POLYGON | labels)])
    assert (found.label, found.shape.name) == ("Cell", "polygon")


def test_a_label_that_is_a_number_is_its_text_and_another_thing_is_none() -> None:
    (found,) = regions_of([region("polygonlabels", POLYGON | {"polygonlabels": [3, "x"]})])
    assert found.labels == ("3", "x")
    (found,) = regions_of([region("polygonlabels", POLYGON | {"polygonlabels": [{}]})])
    with pytest.raises(UnusableRegion, match="label is dict, not text"):
        _ = found.label


def test_a_label_of_a_labels_tag_is_that_of_the_region_with_its_id() -> None:
    drawn = region("rectangle", CELL, id="d1", from_name="box")
    named = region("labels", CELL | {"labels": ["Cell"]}, id="d1", from_name="kind")
    for results in ([drawn, named], [named, drawn]):
        (found,) = regions_of(results)
        assert (found.shape.name, found.label, found.from_name) == ("rectangle", "Cell", "box")
        assert found.beside.from_name == "kind"


def test_a_regions_own_label_goes_before_the_one_beside_it() -> None:
    drawn = region("rectanglelabels", CELL | {"rectanglelabels": ["Own"]}, id="d1")
    (found,) = regions_of([region("labels", CELL | {"labels": ["Beside"]}, id="d1"), drawn])
    assert found.label == "Own"


def test_labels_of_other_ids_say_nothing_of_a_region() -> None:
    (found,) = regions_of([region("brush", {"rle": []}, id="a"), region("labels", {"labels": ["Cell"]}, id="b")])
    assert found.label is None


@pytest.mark.parametrize("prompt", ["keypointlabels", "rectanglelabels"])
def test_a_mask_saved_again_under_the_type_of_its_prompt_is_one_region(prompt: str) -> None:
    """With "Keep label selected" Label Studio's editor adds such a result when a mask is accepted."""
    drawn = np.random.default_rng(0).random((12, 16)) > 0.5
    ours = brush_region(
        drawn, control=Control("brush", "b", "i"), label=None, score=1.0, model_version="v", region_id="r"
    )
    again = ours | {"type": prompt, "from_name": "kp", "value": ours["value"] | {prompt: ["Coin"]}}
    for results in ([ours, again], [again, ours]):
        (found,) = regions_of(results)
        assert (found.kind, found.label) == ("brush", "Coin")
    (alone,) = regions_of([again])
    assert alone.label == "Coin"
    assert np.array_equal(alone.mask(Size(height_px=12, width_px=16)), drawn)


def test_regions_without_an_id_and_shapes_of_one_id_stay_apart() -> None:
    brush, box = region("brush", {"rle": []}), region("rectangle", CELL)
    assert len(list(regions_of([brush, brush]))) == 2
    assert len(list(regions_of([brush | {"id": "a"}, box | {"id": "a"}, None, 5]))) == 2
    assert list(regions_of("no list")) == []


REGIONS = read_payload("41-webhook-ANNOTATION_CREATED.json")["annotation"]["result"]
CHANGES = [(region, place) for region in REGIONS for place in list_places(region, most=3)]


@settings(max_examples=200)
@given(change=st.sampled_from(CHANGES), odd=st.sampled_from(ODD) | JSON)
def test_whatever_stands_in_a_recorded_region_it_is_a_mask_or_refused(change: tuple[Any, Place], odd: object) -> None:
    with contextlib.suppress(UnusableRegion):
        assert mask(put(*change, odd), rectangles_are_masks=True).shape == (12, 16)
