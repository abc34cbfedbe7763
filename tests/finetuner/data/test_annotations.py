"""What of Label Studio's tasks is learnt from, and why the rest is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.odd_values import ODD, list_places, put

from backend.labelstudio.label_config import parse_label_config
from finetuner.config import Rules, TrainConfig
from finetuner.data.annotations import AnnotatedTask, objects_of, read_images, read_task
from finetuner.data.annotators import Annotation
from finetuner.data.exclusions import Exclusions
from finetuner.data.objects import LabelledMask

HEIGHT, WIDTH = 48, 64
Json = dict[str, Any]
Brush = Callable[..., Json]


@pytest.fixture
def exclusions() -> Exclusions:
    return Exclusions()


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 10:20] = True
    return mask


def _task(*annotations: Json, **fields: Any) -> Json:
    return {"id": 7, "data": {"image": "/data/upload/1/a.png"}, "annotations": list(annotations), **fields}


def _annotation(*regions: Any, **fields: Any) -> Json:
    return {"id": 1, "result": list(regions), "was_cancelled": False, "updated_at": "2026-01-01T00:00:00Z", **fields}


def _objects(regions: list[Any], exclusions: Exclusions, **rules: Any) -> list[LabelledMask]:
    return _voted([Annotation(annotation_id=1, annotator="a", regions=tuple(regions))], exclusions, **rules)


def _voted(annotations: list[Annotation], exclusions: Exclusions, **rules: Any) -> list[LabelledMask]:
    task = AnnotatedTask(7, "a.png", tuple(annotations))
    given = Rules(**{"labels": frozenset({"Disc", "Ring"}), **rules})
    return list(objects_of(task, height_px=HEIGHT, width_px=WIDTH, rules=given, exclusions=exclusions))


def _reasons(exclusions: Exclusions) -> dict[str, int]:
    return {row.reason: row.count for row in exclusions.by_reason()}


def test_the_latest_submitted_annotation_counts(brush: Brush, square: np.ndarray, exclusions: Exclusions) -> None:
    older = _annotation(brush(square), id=2, updated_at="2026-01-01T00:00:00Z")
    later = _annotation(brush(square), id=1, updated_at="2026-01-02T00:00:00Z")
    skipped = _annotation(id=3, was_cancelled=True, updated_at="2026-01-03T00:00:00Z")
    found = read_task(_task(older, later, skipped), image_key="image", exclusions=exclusions)
    assert found is not None
    assert (found.task_id, found.image_uri) == (7, "/data/upload/1/a.png")
    assert [annotation.annotation_id for annotation in found.annotations] == [1]
    assert _reasons(exclusions) == {
        "a later annotation of the same task counts": 1,
        "the annotator skipped the task": 1,
    }


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (_task(), "no annotation yet"),
        (_task(drafts=[{"id": 1}]), "only a draft"),
        (_task(_annotation(was_cancelled=True)), "the annotator skipped the task"),
        (_task(_annotation()), "an annotation without any region"),
        (_task(_annotation(result=None)), "an annotation without any region"),
        (_task(annotations="nonsense"), "no annotation yet"),
        (_task(data={"image": 5}), "the task names no image"),
        (_task(data=None), "the task names no image"),
        ("nonsense", "a task that is not a JSON object with an id"),
    ],
)
def test_a_task_without_a_usable_annotation_is_left_out_with_the_reason(
    task: object, reason: str, exclusions: Exclusions
) -> None:
    assert read_task(task, image_key="image", exclusions=exclusions) is None
    assert reason in _reasons(exclusions)


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x", "photo": "s3://bucket/a.JPG"},
        {"a": "/data/local-files/?d=x/b.png"},
        {"a": "http://h/b.webp?sig=1"},
    ],
)
def test_an_export_shows_by_its_endings_where_the_image_is(
    data: Json, brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    task = _task(_annotation(brush(square)), data=data)
    found = read_task(task, image_key=None, exclusions=exclusions)
    assert found is not None
    assert found.image_uri in data.values()


def test_brushes_and_polygons_become_masks_with_their_labels(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    polygon = {
        "id": "p",
        "type": "polygonlabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": [[25, 25], [75, 25], [75, 75], [25, 75]], "polygonlabels": ["Ring"]},
    }
    found = _objects([brush(square), polygon], exclusions)
    assert [item.label for item in found] == ["Disc", "Ring"]
    assert np.array_equal(found[0].mask, square)
    assert found[1].crop_shape == (24, 32)
    assert len(exclusions) == 0


def test_a_mask_beside_its_rectangle_prompt_is_the_object(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    rectangle = {
        "id": "r",
        "type": "rectanglelabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["Disc"]},
    }
    assert [item.crop_shape for item in _objects([rectangle, brush(square)], exclusions)] == [(10, 10)]
    assert _reasons(exclusions) == {"a rectangle is a box, not a mask": 1}
    both = _objects([rectangle, brush(square)], exclusions, rectangles_are_masks=True)
    assert [item.crop_shape for item in both] == [(24, 32), (10, 10)]


def test_unusable_regions_are_left_out_each_with_its_reason(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    speck = np.zeros_like(square)
    speck[0, 0] = True
    keypoint = {"id": "k", "type": "keypointlabels", "value": {"x": 5, "y": 5, "keypointlabels": ["Disc"]}}
    wrong_size = brush(square) | {"original_width": 640}
    regions = [keypoint, wrong_size, brush(square, "Moon"), brush(np.zeros_like(square)), brush(speck), None]
    regions.append({"type": "choices"})
    assert _objects(regions, exclusions) == []
    told = " | ".join(_reasons(exclusions))
    for part in (
        "keypointlabels is not a mask",
        "drawn on 640x48",
        "label 'Moon' is not in the labelling configuration",
        "an empty mask",
        "fewer than 2 pixels",
        "a region that is not a JSON object",
    ):
        assert part in told
    assert len(exclusions) == 6


def test_a_mask_that_stands_twice_under_its_label_is_one_object(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    regions = [brush(square), brush(square) | {"id": "pasted"}, brush(square, "Ring") | {"id": "ring"}]
    assert [item.label for item in _objects(regions, exclusions)] == ["Disc", "Ring"]
    assert _reasons(exclusions) == {"the same mask with the same label stands twice": 1}


@pytest.mark.parametrize("kind", ["relation", "choices", "datetime", "pairwise", "ranker", "textarea"])
def test_what_describes_regions_is_no_region_that_is_left_out(
    kind: str, brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    described = {"type": kind, "from_id": "r1", "to_id": "r2", "direction": "right"}
    assert len(_objects([brush(square), described], exclusions)) == 1
    assert _reasons(exclusions) == {}
    assert Annotation(annotation_id=1, annotator="a", regions=(described,)).is_empty


def test_annotators_vote_on_the_pixels_of_an_object(brush: Brush, square: np.ndarray, exclusions: Exclusions) -> None:
    drawn = [square, np.roll(square, 2, axis=1), np.roll(square, 1, axis=0)]
    stray = np.zeros_like(square)
    stray[40:44, 40:44] = True
    voters = [
        Annotation(annotation_id=number, annotator=str(number), regions=(brush(mask), *more))
        for number, (mask, more) in enumerate(zip(drawn, ([], [brush(stray)], []), strict=True))
    ]
    (agreed,) = _voted(voters, exclusions)
    assert np.array_equal(agreed.mask, np.sum(drawn, axis=0) >= 2)
    assert _reasons(exclusions) == {"most annotators did not draw it": 1}


def test_ground_truth_counts_for_more_than_one_annotator(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    wider = square | np.roll(square, 2, axis=1)
    voters = [
        Annotation(annotation_id=1, annotator="a", regions=(brush(square),)),
        Annotation(annotation_id=2, annotator="b", regions=(brush(wider),), is_ground_truth=True),
    ]
    (narrow,) = _voted(voters, exclusions)
    assert np.array_equal(narrow.mask, square)
    (true,) = _voted(voters, exclusions, ground_truth_weight=2)
    assert np.array_equal(true.mask, wider)


def test_an_annotator_whose_regions_are_all_unusable_has_no_vote(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    keypoint = {"id": "k", "type": "keypointlabels", "value": {"x": 5, "y": 5, "keypointlabels": ["Disc"]}}
    drew = Annotation(annotation_id=1, annotator="a", regions=(brush(square),))
    clicked = Annotation(annotation_id=2, annotator="b", regions=(keypoint,))
    says_nothing_is_there = Annotation(annotation_id=3, annotator="c", regions=())
    (kept,) = _voted([drew, clicked], exclusions)
    assert np.array_equal(kept.mask, square)
    assert _voted([drew, clicked, says_nothing_is_there], exclusions) == []


def test_a_mask_beside_the_image_is_not_the_image(brush: Brush, square: np.ndarray, exclusions: Exclusions) -> None:
    """PostgreSQL's jsonb sorts keys by length, so that "mask" stands before "image" in every export from there."""
    drawn = brush(square)
    task = _task(_annotation(result=[drawn]), data={"mask": "/m.png", drawn["to_name"]: "/i.png"})
    found = read_task(task, image_key=None, exclusions=exclusions)
    assert found is not None
    assert found.image_uri == "/i.png"


def test_regions_on_another_image_or_page_of_the_task_are_left_out(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    left, right = brush(square) | {"to_name": "left"}, brush(square) | {"to_name": "right", "id": "other"}
    later = brush(square) | {"to_name": "left", "id": "page", "item_index": 1}
    task = _task(_annotation(result=[left, right, later]), data={"left": "/l.png", "right": "/r.png"})
    found = read_task(task, image_key=None, exclusions=exclusions)
    assert found is not None
    height_px, width_px = square.shape
    objects = objects_of(found, height_px=height_px, width_px=width_px, rules=Rules(), exclusions=exclusions)
    assert (found.image_uri, len(objects)) == ("/l.png", 1)
    assert _reasons(exclusions) == {
        "it was drawn on another image of the task, 'right'": 1,
        "it was drawn on another page of the task": 1,
    }


def test_any_label_will_do_where_the_configuration_is_not_known(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    assert [item.label for item in _objects([brush(square, "Moon")], exclusions, labels=frozenset())] == ["Moon"]


def test_a_label_of_its_own_names_the_brush_with_the_same_id(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    plain = brush(square)
    plain["type"] = "brush"
    del plain["value"]["brushlabels"]
    named = {"id": plain["id"], "type": "labels", "value": {"labels": ["Ring"]}}
    assert [item.label for item in _objects([plain, named], exclusions)] == ["Ring"]
    assert [item.label for item in _objects([plain], exclusions)] == [None]


def test_the_manifest_counts_every_reason_and_names_the_first_places(
    exclusions: Exclusions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for number in range(9):
        exclusions.add("too small", task=number, annotation=number, region="x")
    exclusions.add("skipped", task=1)
    first, second = (row.to_json() for row in exclusions.by_reason())
    assert (first["reason"], first["count"], len(first["examples"])) == ("too small", 9, 5)
    assert second["examples"] == [{"task": 1}]
    assert exclusions.sentence() == "9 x too small; 1 x skipped"
    assert Exclusions().sentence() == "nothing was left out"
    assert caplog.records[0].__dict__["event"] == "annotation.excluded"


def test_any_value_at_any_place_of_a_task_is_read_or_left_out(brush: Brush, square: np.ndarray) -> None:
    beside = {"id": 5, "type": "labels", "from_name": "l", "value": {"x": 1, "y": 2, "width": 30, "labels": ["Disc"]}}
    stroke = {"type": "add", "relativePoints": [10, 10, 50, 50], "relativeStrokeWidth": 20}
    drawn = brush(square) | {"id": 5, "item_index": 0}
    drawn["value"]["touches"] = [stroke]
    task = _task(_annotation(drawn, beside, completed_by={"id": 1}))
    config = parse_label_config(
        '<View><Image name="image" value="/x/$image"/><Labels name="l" toName="image"><Label value="Disc"/></Labels>'
        '<Brush name="b" toName="image"/></View>'
    )
    for place in list_places(task, most=2):
        for odd in ODD:
            left_out = Exclusions()
            for image in read_images(put(task, place, odd), config=config, exclusions=left_out):
                objects_of(image, height_px=HEIGHT, width_px=WIDTH, rules=Rules(), exclusions=left_out)


def test_a_label_under_another_name_of_the_labelling_interface_is_that_label(
    brush: Brush, square: np.ndarray, exclusions: Exclusions
) -> None:
    """Predictions are imported by a label's value; the editor shows them, and writes its alias."""
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image">'
        '<Label value="Disc" alias="d"/><Label value="Ring"/></BrushLabels></View>'
    )
    rules = TrainConfig().rules(config)
    found = [
        item.label
        for label in ("Disc", "Ring", "d", "Moon")
        for item in _objects([brush(square, label)], exclusions, labels=rules.labels, other_names=rules.other_names)
    ]
    assert found == ["d", "Ring", "d"]
    assert _reasons(exclusions) == {"its label 'Moon' is not in the labelling configuration": 1}
