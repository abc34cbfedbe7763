"""The real editor in a real browser: a click becomes a mask, and the submitted annotation holds it with its version."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import requests
from fakes.regions import brush_region, control_of
from fakes.studio_setup import StudioSetup
from scipy import ndimage
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from support.editor import Editor
from support.waiting import wait_for_model, wait_until

from backend.cli.demo.label_studio import LabelStudioProcess, free_port
from backend.cli.demo.photographs import PHOTOGRAPHS, sample_photographs
from backend.cli.demo.project import SampleTask, ask_for_mask, centre_px, create_project, label_config
from backend.cli.demo.samples import SampleObject
from backend.files.children import end
from backend.labelstudio.api.client import LabelStudio
from backend.labelstudio.controls.regions import mask_of_region
from backend.masks.metrics import iou
from backend.work.embedded import Valkey

pytestmark = [pytest.mark.label_studio, pytest.mark.browser, pytest.mark.weights]


class Backend(NamedTuple):
    """A running `samloop serve`."""

    url: str
    log: Path


class Wired(NamedTuple):
    """A project whose backend is a real samloop server."""

    client: LabelStudio
    backend: Backend
    project_id: int
    tasks: tuple[SampleTask, ...]


@pytest.fixture(scope="module")
def backend(label_studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """`samloop serve` with real weights, once its model is loaded."""
    folder, port = tmp_path_factory.mktemp("samloop"), free_port()
    with Valkey(folder / "queue") as valkey, (folder / "serve.log").open("wb") as log:
        environment = os.environ | {
            "REDIS_URL": valkey.start(),
            "MODEL_DIR": str(folder / "models"),
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.token,
        }
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "backend", "serve", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for_model(f"http://127.0.0.1:{port}", process=server, log=folder / "serve.log")
            yield Backend(f"http://127.0.0.1:{port}", folder / "serve.log")
        finally:
            end(server, grace_s=20)


@pytest.fixture(scope="module")
def wired(label_studio: LabelStudioProcess, backend: Backend) -> Wired:
    client = StudioSetup(label_studio.url, label_studio.token)
    project_id, tasks = create_project(client, PHOTOGRAPHS, images=sample_photographs()[:3])
    client.backends.connect(project_id, url=backend.url, title="samloop")
    return Wired(client, backend, project_id, tasks)


@pytest.fixture(scope="module")
def outlined(label_studio: LabelStudioProcess, backend: Backend) -> Wired:
    """A project with polygons in the place of brushes."""
    client, (photograph,) = StudioSetup(label_studio.url, label_studio.token), sample_photographs()[:1]
    config = label_config(PHOTOGRAPHS).replace("BrushLabels", "PolygonLabels").replace('"brush"', '"polygon"')
    project_id, tasks = create_project(client, PHOTOGRAPHS, images=[photograph])
    client.update_project(project_id, label_config=config)
    client.backends.connect(project_id, url=backend.url, title="samloop")
    return Wired(client, backend, project_id, tasks)


def test_a_click_becomes_a_mask_and_the_submitted_annotation_holds_it_with_its_version(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    task = wired.tasks[0]
    coin = task.image.objects[0]
    editor = Editor(browser, label_studio, backend_log=wired.backend.log)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.click_on(coin)
    editor.screenshot("mask")
    editor.accept()
    editor.screenshot("accepted")
    editor.submit()

    region = _submitted(wired, task, kind="brushlabels")
    height_px, width_px = coin.mask.shape
    assert region["meta"]["model_version"] == "mobile-sam"
    assert region["id"].startswith("samloop-")
    assert region["value"]["brushlabels"] == [coin.label]
    assert iou(mask_of_region(region, height_px=height_px, width_px=width_px), coin.mask) > 0.8


def test_a_box_becomes_a_mask_too(browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired) -> None:
    task = wired.tasks[1]
    coin = task.image.objects[1]
    editor = Editor(browser, label_studio, backend_log=wired.backend.log)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("rectangle-tool", label=coin.label)
    editor.drag_around(coin)
    editor.accept()
    editor.submit()

    region = _submitted(wired, task, kind="brushlabels")
    height_px, width_px = coin.mask.shape
    assert region["meta"]["model_version"] == "mobile-sam"
    assert iou(mask_of_region(region, height_px=height_px, width_px=width_px), coin.mask) > 0.8


def test_a_click_with_alt_takes_a_part_away_and_the_submitted_annotation_holds_what_is_left(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    task = wired.tasks[2]
    coin = task.image.objects[1]
    editor = Editor(browser, label_studio, backend_log=wired.backend.log)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.click_on(coin)
    (whole,) = editor.suggestions()
    editor.screenshot("before-alt-click")
    x_px, y_px = centre_px(coin)
    editor.click_at(coin, x_px + 0.25 * float(np.ptp(np.nonzero(coin.mask)[1])), y_px, keys=Keys.ALT)
    (rest,) = editor.suggestions_after([whole])
    editor.screenshot("after-alt-click")
    editor.accept()
    editor.submit()

    region = _submitted(wired, task, kind="brushlabels")
    assert region["id"] == rest
    left = _mask(region, coin)
    alone = ask_for_mask(wired.client, _backend_id(wired), task, number=1)
    assert alone.iou > 0.9, "without the click with ALT the mask is the whole coin's"
    assert np.count_nonzero(left) < 0.9 * np.count_nonzero(coin.mask)
    assert np.count_nonzero(left & ~coin.mask) < 0.1 * np.count_nonzero(left)


def test_a_click_that_brings_no_mask_says_why_in_the_editor_until_one_brings_a_mask(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    client, (photograph,) = wired.client, sample_photographs()[:1]
    project_id, (task,) = create_project(client, PHOTOGRAPHS, images=[photograph])
    client.update_project(project_id, label_config=_with_a_strict_label(label_config(PHOTOGRAPHS)))
    client.backends.connect(project_id, url=wired.backend.url, title="samloop")
    editor = Editor(browser, label_studio, backend_log=wired.backend.log)
    editor.log_in()
    editor.open(project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label="Brick")
    first, second = photograph.objects[:2]
    editor.click_at(first, *centre_px(first))
    editor.wait.until(lambda _: "asks for 1" in editor.text())
    editor.screenshot("reason")
    editor.take_smart_tool("key-point-tool", label="Coin")
    editor.click_on(second)
    assert "asks for 1" not in editor.text()
    editor.screenshot("reason-gone")
    editor.accept()
    editor.submit()
    region = _submitted(wired._replace(project_id=project_id), task, kind="brushlabels")
    assert region["value"]["brushlabels"] == ["Coin"]


def _with_a_strict_label(config: str) -> str:
    """No mask is good enough for the label "Brick"; the editor has a text area for the reason."""
    control = control_of(config, "brushlabels")
    assert control is not None
    brushes = f'<BrushLabels name="{control.from_name}" toName="image"><Label value="Coin"/></BrushLabels>'
    strict = '<BrushLabels name="strict" toName="image" model_score_threshold="1"><Label value="Brick"/></BrushLabels>'
    text = '<TextArea name="samloop" toName="image" editable="false"/>'
    before, _, rest = config.partition("<BrushLabels")
    return before + brushes + strict + rest.partition("</BrushLabels>")[2].replace("</View>", text + "</View>")


def test_a_box_becomes_a_polygon_where_the_project_has_polygons(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, outlined: Wired
) -> None:
    (task,) = outlined.tasks
    coin = task.image.objects[1]
    editor = Editor(browser, label_studio, backend_log=outlined.backend.log)
    editor.log_in()
    editor.open(outlined.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("rectangle-tool", label=coin.label)
    editor.drag_around(coin)
    editor.screenshot("polygon")
    editor.accept()
    editor.screenshot("polygon-accepted")
    editor.submit()

    region = _submitted(outlined, task, kind="polygonlabels")
    assert region["value"]["polygonlabels"] == [coin.label]
    assert region["value"]["closed"] is True
    assert region["meta"]["model_version"] == "mobile-sam"
    assert iou(_mask(region, coin), coin.mask) > 0.8


def test_a_click_with_control_and_alt_on_a_mask_that_stands_already_replaces_it_with_less(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, outlined: Wired
) -> None:
    """The editor sends the click alone; the mask is the prediction that the annotation began with."""
    client, (photograph,) = outlined.client, sample_photographs()[2:3]
    project_id, (task,) = create_project(client, PHOTOGRAPHS, images=[photograph])
    client.backends.connect(project_id, url=outlined.backend.url, title="samloop")
    coin = photograph.objects[1]
    control = control_of(label_config(PHOTOGRAPHS), "brushlabels")
    assert control is not None
    wide = ndimage.binary_dilation(coin.mask, iterations=20)
    given = brush_region(wide, control=control, label=coin.label, score=0.5, model_version="mobile-sam")
    client.create_prediction(task.task_id, result=[given], score=0.5, model_version="mobile-sam")
    editor = Editor(browser, label_studio, backend_log=outlined.backend.log)
    editor.log_in()
    editor.open(project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.screenshot("standing")
    ring = wide & ~ndimage.binary_dilation(coin.mask, iterations=8)
    row, column = np.argwhere(ring)[ring.sum() // 2]
    editor.click_at(coin, float(column) + 0.5, float(row) + 0.5, keys=Keys.CONTROL + Keys.ALT)
    assert editor.suggestions_after([]) == [given["id"]]
    editor.screenshot("standing-refined")
    editor.accept()
    editor.screenshot("standing-accepted")
    editor.submit()

    region = _submitted(outlined, task, kind="brushlabels")
    assert region["id"] == given["id"]
    assert iou(_mask(region, coin), coin.mask) > iou(wide, coin.mask)


def test_start_training_in_the_settings_queues_a_training(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    """No worker listens here: the training stays in the queue."""
    editor = Editor(browser, label_studio, backend_log=wired.backend.log)
    editor.log_in()
    editor.start_training(wired.project_id)
    wait_until(lambda: _status(wired)["phase"] == "queued", every_s=0.2)
    status = _status(wired)
    assert status["job"] == f"train-{wired.project_id}-1"


def _status(wired: Wired) -> dict:
    return requests.get(f"{wired.backend.url}/projects/{wired.project_id}/status", timeout=60).json()


def _backend_id(wired: Wired) -> int:
    (backend,) = wired.client.backends.all(wired.project_id)
    return int(backend["id"])


def _mask(region: dict, item: SampleObject) -> np.ndarray:
    height_px, width_px = item.mask.shape
    return mask_of_region(region, height_px=height_px, width_px=width_px)


def _submitted(wired: Wired, task: SampleTask, *, kind: str) -> dict:
    (annotation,) = wait_until(
        lambda: wired.client.task(task.task_id)["annotations"],
        every_s=0.3,
        explain=lambda: "no annotation was submitted",
    )
    (region,) = [region for region in annotation["result"] if region["type"] == kind]
    return region
