"""The sample project, against the fake Label Studio that keeps the real one's contract."""

from dataclasses import astuple

import numpy as np
import pytest
from fakes.regions import brush_region, control_of

from backend.cli.demo.photographs import PHOTOGRAPHS, sample_photographs
from backend.cli.demo.project import (
    SampleTask,
    annotate,
    ask_for_mask,
    centre_px,
    create_project,
    give_boxes,
    label_config,
)
from backend.cli.demo.samples import SampleObject
from backend.cli.demo.sets import SETS
from backend.errors import Upstream
from backend.labelstudio.controls.regions import mask_of_region
from backend.labelstudio.controls.results import prediction
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.prompts.rectangles import rectangles_of_task
from backend.labelstudio.prompts.request import prompts_from_context
from backend.masks.bounds import find_bounds


class Backend:
    """Answers one interactive request, and keeps it."""

    def __init__(self, regions: list[dict]) -> None:
        self.regions, self.context = regions, {}
        self.backends = self

    def interactive(self, backend_id: int, task_id: int, context: dict) -> dict:
        self.context = context
        return prediction(self.regions, model_version="v7")


class Submitted:
    """Takes annotations."""

    def __init__(self) -> None:
        self.results: dict[int, list[dict]] = {}

    def create_annotation(self, task_id: int, result: list[dict], **fields: object) -> dict:
        self.results[task_id] = result
        return {"id": 1}


class Uploads:
    """A project whose uploads come back as tasks, named as Label Studio names them."""

    def __init__(self, *, lost: int = 0) -> None:
        self.names: list[str] = []
        self.lost = lost

    def create_project(self, title: str, label_config: str) -> dict:
        return {"id": 7}

    def import_images(self, project_id: int, files: dict[str, bytes]) -> int:
        self.names = list(files)[self.lost :]
        return len(self.names)

    def tasks(self, project_id: int) -> list[dict]:
        named = enumerate(reversed(self.names), 100)
        return [{"id": number, "data": {"image": f"/data/upload/7/0a1b2c3d-{name}"}} for number, name in named]


@pytest.fixture(scope="module")
def task() -> SampleTask:
    return SampleTask(5, sample_photographs()[0])


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_label_config_has_a_brush_for_masks_and_smart_tags_for_prompts(name: str) -> None:
    config = parse_label_config(label_config(SETS[name]))
    assert config.image_key == "image"
    assert {control.kind for control in config.controls} == {"brushlabels", "keypointlabels", "rectanglelabels"}
    assert {control.labels for control in config.controls} == {SETS[name].labels}


def test_every_photograph_finds_its_task_whatever_order_label_studio_gives() -> None:
    photographs = sample_photographs()[:3]
    project_id, tasks = create_project(Uploads(), PHOTOGRAPHS, images=photographs)
    assert project_id == 7
    assert [task.image for task in tasks] == list(photographs)
    assert [task.task_id for task in tasks] == [102, 101, 100]


def test_an_upload_that_got_lost_is_told() -> None:
    with pytest.raises(Upstream, match="not the 3 samples"):
        create_project(Uploads(lost=1), PHOTOGRAPHS, images=sample_photographs()[:3])


def test_an_annotation_holds_every_object_as_a_brush_mask_that_reads_back_bit_for_bit(task: SampleTask) -> None:
    client = Submitted()
    annotate(client, task)
    regions = client.results[5]
    assert len({region["id"] for region in regions}) == len(regions) == len(task.image.objects)
    for region, item in zip(regions, task.image.objects, strict=True):
        height_px, width_px = item.mask.shape
        np.testing.assert_array_equal(mask_of_region(region, height_px=height_px, width_px=width_px), item.mask)
        assert region["value"]["brushlabels"] == [item.label]


def test_a_detectors_boxes_enclose_every_object_and_are_read_as_prompts(task: SampleTask) -> None:
    class Store:
        def __init__(self) -> None:
            self.predictions: list[dict] = []

        def add_one(self, prediction: dict) -> None:
            self.predictions.append(prediction)

    store = Store()
    give_boxes(store, [task])
    (prediction,) = store.predictions
    height_px, width_px = task.image.objects[0].mask.shape
    prompts = rectangles_of_task(
        {"id": 5, "predictions": [prediction]},
        height_px=height_px,
        width_px=width_px,
        config=parse_label_config(label_config(PHOTOGRAPHS)),
        model_version="v1",
    )
    assert len(prompts) == len(task.image.objects)
    for prompt, item in zip(prompts, task.image.objects, strict=True):
        bounds = find_bounds(item.mask)
        assert bounds is not None
        assert prompt.label == item.label
        np.testing.assert_allclose(astuple(prompt.prompt.box), astuple(bounds.box), atol=1e-6)


def test_a_click_is_asked_as_the_editor_asks_and_the_answer_is_measured(task: SampleTask) -> None:
    item = task.image.objects[1]
    height_px, width_px = item.mask.shape
    control = control_of(label_config(PHOTOGRAPHS), "brushlabels")
    backend = Backend([brush_region(item.mask, control=control, label="Coin", score=0.9, model_version="v7")])
    asked = ask_for_mask(backend, 1, task, number=1)
    assert (asked.version, asked.iou, asked.boundary_iou) == ("v7", 1.0, 1.0)
    (labelled,) = prompts_from_context(backend.context, height_px=height_px, width_px=width_px)
    (click,) = labelled.prompt.clicks
    assert labelled.label == "Coin"
    assert click.is_foreground
    assert item.mask[int(click.y_px), int(click.x_px)]


def test_an_answer_without_a_mask_is_an_error(task: SampleTask) -> None:
    with pytest.raises(Upstream, match="one click on task 5 was answered with 0 regions"):
        ask_for_mask(Backend([]), 1, task)


def test_the_point_of_an_object_cut_by_the_photographs_edge_lies_inside_the_photograph() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[:, :9] = True
    x_px, y_px = centre_px(SampleObject("Brick", mask))
    assert 4 <= x_px <= 5
    assert 4 <= y_px <= 16
