"""What an annotator points at comes back as what the project's controls draw, over HTTP, from a tiny random SAM."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.domains import set_apart
from support.pictures import draw_greys, encode_image, write_data_uri
from support.queue import connect_to_nobody
from support.waiting import wait_until

from backend.images.source import ImageSource, open_image
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.controls.results import regions_of_mask
from backend.labelstudio.label_config import Control, parse_label_config
from backend.masks.crop import list_tiles
from backend.masks.metrics import iou
from backend.masks.prompt import Click, Prompt
from backend.sam.loading import BaseModel, decoder_of
from backend.sam.predictor import Embedding, Predictor, base_predictor, encode
from backend.server.app import create_app
from backend.serving.clicks import Clicks, _Decoder
from backend.serving.machine import open_machine
from backend.serving.slot import Snapshot
from backend.serving.task_image import TaskImage
from backend.settings import Settings

HEIGHT_PX, WIDTH_PX = 64, 96
PLAIN = '<View><Image name="image" value="$image"/><Brush name="brush" toName="image"/></View>'
NO_SOURCE: Any = None
LABELS = '<Label value="Coin"/><Label value="Brick"/>'
KEYPOINTS = f'<KeyPointLabels name="kp" toName="image" smart="true">{LABELS}</KeyPointLabels>'
BOXES = f'<RectangleLabels name="boxes" toName="image" smart="true">{LABELS}</RectangleLabels>'


def control(kind: str, *, name: str = "out", attributes: str = "", labels: str = LABELS) -> str:
    return f'<{kind} name="{name}" toName="image" {attributes}>{labels}</{kind}>'


def image_url() -> str:
    blocks = np.random.default_rng(5).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    return write_data_uri(encode_image(Image.fromarray(blocks).resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.NEAREST)))


def keypoint(x: float, y: float, *, label: str = "Coin", positive: bool = True) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.3, "keypointlabels": [label]}
    return {"type": "keypointlabels", "from_name": "kp", "is_positive": positive, "value": value}


def rectangle(x: float, y: float, width: float, height: float, *, label: str = "Coin") -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "from_name": "boxes", "value": value}


@pytest.fixture(scope="module")
def client(tiny_sam_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("interactive")
    settings = Settings(
        model=str(tiny_sam_dir),
        model_dir=folder / "models",
        cache_dir=folder / "cache",
        polygon_tolerance_px=0.0,
    )
    away = connect_to_nobody(folder)
    with TestClient(
        create_app(settings, connection=away), raise_server_exceptions=False, base_url="http://localhost"
    ) as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


def ask(client: TestClient, tags: str, *regions: dict[str, Any], **task: Any) -> Any:
    body = {
        "tasks": [{"id": 1, "data": {"image": image_url()}} | task],
        "project": "1.1",
        "label_config": f'<View><Image name="image" value="$image"/>{tags}</View>',
        "params": {"context": {"result": list(regions)}},
    }
    return client.post("/predict", json=body)


def regions_for(client: TestClient, tags: str, *regions: dict[str, Any], **task: Any) -> list[dict[str, Any]]:
    answer = ask(client, tags, *regions, **task)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    assert 0 <= prediction["score"] <= 1
    found: list[dict[str, Any]] = prediction["result"]
    return found


def mask_of(*regions: dict[str, Any]) -> np.ndarray:
    read = [
        mask_of_region(region, height_px=HEIGHT_PX, width_px=WIDTH_PX, rectangles_are_masks=True) for region in regions
    ]
    return np.logical_or.reduce(read)


@pytest.mark.parametrize("labelled", ["Labels", ""])
@pytest.mark.parametrize("shape", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_a_click_is_answered_as_the_projects_control_draws(client: TestClient, shape: str, labelled: str) -> None:
    tags = control(shape + labelled, labels=LABELS if labelled else "") + KEYPOINTS
    found = regions_for(client, tags, keypoint(50, 50))
    kind = f"{shape}{labelled}".lower()
    assert {(region["type"], region["from_name"], region["to_name"]) for region in found} == {(kind, "out", "image")}
    assert all(region["value"].get(kind) == (["Coin"] if labelled else None) for region in found)
    assert all(region["meta"]["model_version"] for region in found)
    (brush,) = regions_for(client, control("BrushLabels") + KEYPOINTS, keypoint(50, 50))
    if shape in {"Brush", "Bitmask"}:
        assert np.array_equal(mask_of(*found), mask_of(brush))
    else:
        assert (mask_of(*found) & mask_of(brush)).any()


def test_a_box_is_answered_by_the_polygon_control_and_not_by_its_own(client: TestClient) -> None:
    found = regions_for(client, BOXES + control("PolygonLabels"), rectangle(10, 10, 60, 60))
    assert {region["type"] for region in found} == {"polygonlabels"}
    (own,) = regions_for(client, BOXES, rectangle(10, 10, 60, 60))
    assert (own["type"], own["from_name"]) == ("rectanglelabels", "boxes")


def test_each_label_goes_to_the_control_that_has_it(client: TestClient) -> None:
    tags = (
        control("BrushLabels", name="coins", labels='<Label value="Coin"/>')
        + control("PolygonLabels", name="bricks", labels='<Label value="Brick"/>')
        + KEYPOINTS
    )
    found = regions_for(client, tags, keypoint(20, 20), keypoint(80, 80, label="Brick"))
    assert [region["from_name"] for region in found][:1] == ["coins"]
    assert {region["from_name"] for region in found[1:]} == {"bricks"}


def test_a_threshold_leaves_out_what_scores_less_and_skipped_controls_get_nothing(client: TestClient) -> None:
    strict = control("BrushLabels", attributes='model_score_threshold="1.0"')
    assert regions_for(client, strict + KEYPOINTS, keypoint(50, 50)) == []
    skipped = control("BrushLabels", name="no", attributes='model_skip="true"')
    (found,) = regions_for(client, skipped + control("BitmaskLabels") + KEYPOINTS, keypoint(50, 50))
    assert found["from_name"] == "out"


def standing(kind: str = "brushlabels") -> dict[str, Any]:
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    mask[10:50, 20:70] = True
    (region,) = regions_of_mask(
        mask,
        control=Control(kind, "out", "image", ("Coin",)),
        label="Coin",
        score=0.5,
        model_version="v0",
        region_id="standing",
    )
    return region


@pytest.mark.parametrize("shape", ["Brush", "Bitmask", "Polygon"])
def test_a_refined_region_comes_back_under_its_id_on_its_control(client: TestClient, shape: str) -> None:
    tags = control("BrushLabels", name="another") + control(f"{shape}Labels") + KEYPOINTS
    old = standing(f"{shape.lower()}labels")
    new, *_ = regions_for(client, tags, old, keypoint(40, 40))
    assert (new["id"], new["from_name"], new["type"]) == ("standing", "out", old["type"])
    assert new["meta"]["model_version"] != "v0"
    alone, *_ = regions_for(client, tags, keypoint(40, 40))
    assert alone["id"] != "standing"
    same_control, *_ = regions_for(client, control(f"{shape}Labels") + KEYPOINTS, keypoint(40, 40))
    assert not np.array_equal(mask_of(new), mask_of(same_control)), "the old mask must matter"


def test_a_background_click_refines_what_the_task_holds(client: TestClient) -> None:
    tags = control("BrushLabels") + KEYPOINTS
    task = {"predictions": [{"result": [standing()], "model_version": "v0"}]}
    (found,) = regions_for(client, tags, keypoint(40, 40, positive=False), **task)
    assert found["id"] == "standing"
    assert regions_for(client, tags, keypoint(40, 40, positive=False)) == []
    (nothing,) = ask(client, tags, keypoint(40, 40, positive=False)).json()["results"]
    assert nothing["note"].startswith("no prompt points at an object: click on an object")


def test_strokes_boxes_clicks_and_ellipses_come_together(client: TestClient) -> None:
    value = {"x": 30, "y": 30, "radiusX": 10, "radiusY": 20, "rotation": 15, "ellipselabels": ["Brick"]}
    stroke = standing() | {"origin": "manual", "meta": {}}
    tags = control("BrushLabels") + KEYPOINTS + BOXES
    found = regions_for(
        client,
        tags,
        stroke,
        {"type": "ellipselabels", "from_name": "e", "value": value},
        keypoint(60, 60),
        rectangle(50, 50, 20, 20, label="Brick"),
    )
    assert [region["value"]["brushlabels"] for region in found] == [["Coin"], ["Brick"], ["Brick"]]
    assert len({region["id"] for region in found}) == 3


@pytest.mark.parametrize(
    ("tags", "regions", "says"),
    [
        (KEYPOINTS, [], "no control of the labelling interface can take a mask: add &lt;BrushLabels>"),
        (control("BrushLabels", attributes='model_score_threshold="x"'), [], "is not a number from 0 to 1"),
        (control("BrushLabels"), [standing() | {"original_width": 5}, keypoint(5, 5)], "was drawn on 5x64 pixels"),
        (control("BrushLabels"), [standing() | {"value": {"rle": "x"}}, keypoint(5, 5)], "value.rle is str"),
        (control("BrushLabels"), [standing()] * 65, "65 masks; at most 64 are allowed"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(client: TestClient, tags: str, regions: list, says: str) -> None:
    answer = ask(client, tags, *regions)
    assert answer.status_code == 400, answer.text
    assert says.replace("&lt;", "<") in answer.json()["error"]


class Here:
    """Decodes here and now."""

    def embed(self, image: TaskImage, **_: Any) -> Embedding:
        raise NotImplementedError

    def decode(self, work: Callable[[], Any], **_: Any) -> Any:
        return work()


def test_a_crop_is_answered_by_what_answers_its_image(tiny_base: BaseModel) -> None:
    """A crop of an image outside the domain may look like the project, and the other way round."""
    inside, elsewhere = (encode(tiny_base, draw_greys(64, 48, spread=spread)) for spread in (5, 90))
    nudged = decoder_of(tiny_base, None)
    for weight in nudged.parameters():
        weight.mul_(1.1)
    apart = set_apart(Predictor(tiny_base, nudged, version="v1"), inside=inside, elsewhere=elsewhere)
    image = TaskImage(task={"id": 1, "data": {}}, config=parse_label_config(PLAIN), images=NO_SOURCE)
    click = [Prompt(clicks=(Click(30.0, 20.0),))]
    for whole, crop, answers in (
        (inside, elsewhere, apart.trained),
        (elsewhere, inside, base_predictor(tiny_base)),
    ):
        project = _Decoder(Here(), image=image, snapshot=Snapshot("v1", apart, number=1), until_s=0.0)
        decoder, seen = project.suit(whole)
        assert seen is whole, "one encoder is enough"
        assert decoder.snapshot.version == "v1"
        (found,), (expected,) = decoder.decode(crop, click), answers.decode(crop, click)
        assert found.predicted_iou == expected.predicted_iou
    assert apart.trained.decode(inside, click)[0].predicted_iou != base_predictor(tiny_base).decode(inside, click)[0]


def test_a_version_with_a_magnification_answers_clicks_and_boxes_from_the_tiles_of_the_image(
    tiny_base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.sam.closer.tiles.SMALL", 1.0)  # the random model's masks are large
    plain = base_predictor(tiny_base)
    settings = Settings(cache_dir=tmp_path)
    config = parse_label_config(f'<View><Image name="image" value="$image"/>{control("BrushLabels")}{KEYPOINTS}</View>')
    source = ImageSource(settings=settings, label_studio=None)
    image = TaskImage(task={"id": 1, "data": {"image": image_url()}}, config=config, images=source)
    points = (20, 60)
    with closing(open_machine(tiny_base, settings)) as machine:
        clicks = Clicks(machine=machine, traffic=machine.lanes.traffic, observer=Unheard())
        of_tiles, of_whole = (
            [
                mask_of(*clicks.answer(image, context, snapshot=snapshot, until_s=math.inf)["result"])
                for point in points
                if (context := {"result": [keypoint(point, point)]})
            ]
            for snapshot in (Snapshot("v1", model, number=1) for model in (replace(plain, magnification=1.5), plain))
        )
    picture = open_image(image.fetch(), max_pixels=10**6)
    for mask, tile, point in zip(of_tiles, (list_tiles(1.5)[0], list_tiles(1.5)[3]), points, strict=True):
        crop = tile.crop(HEIGHT_PX, WIDTH_PX)
        inside = crop.prompt(Prompt(clicks=(Click(point / 100 * WIDTH_PX, point / 100 * HEIGHT_PX),)))
        (expected,) = plain.decode(encode(tiny_base, picture.crop(crop.corners_px)), [inside])
        assert expected.mask.any()
        assert iou(mask, crop.place(expected.mask, height_px=HEIGHT_PX, width_px=WIDTH_PX)) > 0.98  # of a cached half
    assert not any(np.array_equal(*masks) for masks in zip(of_tiles, of_whole, strict=True))


class Unheard:
    """Hears of clicks, and keeps nothing."""

    def count_answer(self, *, regions: int, seconds: float) -> None:
        assert (regions, seconds > 0) == (1, True)
