"""The real editor in a real browser: a click becomes a mask, and the submitted annotation holds it with its version."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import requests
from scipy import ndimage
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from backend.demo.label_studio import LabelStudioProcess, free_port
from backend.demo.photographs import SampleObject, sample_photographs
from backend.demo.project import LABEL_CONFIG, SampleTask, ask_for_mask, centre_px, create_project
from backend.labelstudio.client import LabelStudio
from backend.labelstudio.label_config import parse_label_config
from backend.labelstudio.regions import mask_of_region
from backend.labelstudio.results import brush_region
from backend.masks.metrics import iou
from backend.processes import end
from backend.valkey import Valkey

pytestmark = [pytest.mark.label_studio, pytest.mark.browser, pytest.mark.weights]
WAIT_S = 60


class Wired(NamedTuple):
    """A project whose backend is a real samloop server."""

    client: LabelStudio
    backend_url: str
    project_id: int
    tasks: tuple[SampleTask, ...]


@pytest.fixture(scope="module")
def backend_url(label_studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`samloop serve` with real weights, once its model is loaded."""
    folder, port = tmp_path_factory.mktemp("samloop"), free_port()
    with Valkey(folder / "queue") as valkey, (folder / "serve.log").open("wb") as log:
        environment = os.environ | {
            "REDIS_URL": valkey.start(), "MODEL_DIR": str(folder / "models"),
            "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.token,
        }  # fmt: skip
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "backend", "serve", "--port", str(port)],
            env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait_for_model(f"http://127.0.0.1:{port}", server=server, log_path=folder / "serve.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            end(server, grace_s=20)


def _wait_for_model(url: str, *, server: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"{url}/health", timeout=5).json()["model"] == "ready":
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    pytest.fail(f"samloop serve has no model: {log_path.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def wired(label_studio: LabelStudioProcess, backend_url: str) -> Wired:
    client = LabelStudio(label_studio.url, label_studio.token)
    project_id, tasks = create_project(client, sample_photographs()[:3])
    client.connect_backend(project_id, url=backend_url, title="samloop")
    return Wired(client, backend_url, project_id, tasks)


@pytest.fixture(scope="module")
def outlined(label_studio: LabelStudioProcess, backend_url: str) -> Wired:
    """A project with polygons in the place of brushes."""
    client, (photograph,) = LabelStudio(label_studio.url, label_studio.token), sample_photographs()[:1]
    config = LABEL_CONFIG.replace("BrushLabels", "PolygonLabels").replace('"brush"', '"polygon"')
    project_id, tasks = create_project(client, [photograph])
    client.update_project(project_id, label_config=config)
    client.connect_backend(project_id, url=backend_url, title="samloop")
    return Wired(client, backend_url, project_id, tasks)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Headless Chromium with a profile of its own; it fetches nothing but what Label Studio's pages ask for."""
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
        "--window-size=1500,1300", f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def test_a_click_becomes_a_mask_and_the_submitted_annotation_holds_it_with_its_version(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    task = wired.tasks[0]
    coin = task.photograph.objects[0]
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.click_on(coin)
    editor.screenshot("mask")
    editor.press("bottombar-accept-suggestions-button")
    editor.screenshot("accepted")
    editor.press("bottombar-submit-button")

    region = _submitted(wired, task, kind="brushlabels")
    height_px, width_px = coin.mask.shape
    assert region["meta"]["model_version"] == "mobile-sam"
    assert region["id"].startswith("samloop-")
    assert region["value"]["brushlabels"] == [coin.label]
    assert iou(mask_of_region(region, height_px=height_px, width_px=width_px), coin.mask) > 0.8


def test_a_box_becomes_a_mask_too(browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired) -> None:
    task = wired.tasks[1]
    coin = task.photograph.objects[1]
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("rectangle-tool", label=coin.label)
    editor.drag_around(coin)
    editor.press("bottombar-accept-suggestions-button")
    editor.press("bottombar-submit-button")

    region = _submitted(wired, task, kind="brushlabels")
    height_px, width_px = coin.mask.shape
    assert region["meta"]["model_version"] == "mobile-sam"
    assert iou(mask_of_region(region, height_px=height_px, width_px=width_px), coin.mask) > 0.8


def test_a_click_with_alt_takes_a_part_away_and_the_submitted_annotation_holds_what_is_left(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    task = wired.tasks[2]
    coin = task.photograph.objects[1]
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.open(wired.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.click_on(coin)
    (whole,) = editor.suggestions()
    editor.screenshot("before-alt-click")
    editor.select_label(coin.label, tool="key-point-tool")
    x_px, y_px = centre_px(coin)
    editor.click_at(coin, x_px + 0.25 * float(np.ptp(np.nonzero(coin.mask)[1])), y_px, with_alt=True)
    (rest,) = editor.suggestions_after([whole])
    editor.screenshot("after-alt-click")
    editor.press("bottombar-accept-suggestions-button")
    editor.press("bottombar-submit-button")

    region = _submitted(wired, task, kind="brushlabels")
    assert region["id"] == rest
    left = _mask(region, coin)
    alone = ask_for_mask(wired.client, _backend_id(wired), task, number=1)
    assert alone.iou > 0.9, "without the click with ALT the mask is the whole coin's"
    assert np.count_nonzero(left) < 0.9 * np.count_nonzero(coin.mask)
    assert np.count_nonzero(left & ~coin.mask) < 0.1 * np.count_nonzero(left)


def test_a_box_becomes_a_polygon_where_the_project_has_polygons(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, outlined: Wired
) -> None:
    (task,) = outlined.tasks
    coin = task.photograph.objects[1]
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.open(outlined.project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("rectangle-tool", label=coin.label)
    editor.drag_around(coin)
    editor.screenshot("polygon")
    editor.press("bottombar-accept-suggestions-button")
    editor.screenshot("polygon-accepted")
    editor.press("bottombar-submit-button")

    region = _submitted(outlined, task, kind="polygonlabels")
    assert region["value"]["polygonlabels"] == [coin.label]
    assert region["value"]["closed"] is True
    assert region["meta"]["model_version"] == "mobile-sam"
    assert iou(_mask(region, coin), coin.mask) > 0.8


def test_a_click_with_alt_on_a_mask_that_stands_already_replaces_it_with_less(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, outlined: Wired
) -> None:
    """The editor sends the click alone; the mask is the prediction that the annotation began with."""
    client, (photograph,) = outlined.client, sample_photographs()[2:3]
    project_id, (task,) = create_project(client, [photograph])
    client.connect_backend(project_id, url=outlined.backend_url, title="samloop")
    coin = photograph.objects[1]
    control = parse_label_config(LABEL_CONFIG).control("brushlabels")
    assert control is not None
    wide = ndimage.binary_dilation(coin.mask, iterations=20)
    given = brush_region(wide, control=control, label=coin.label, score=0.5, model_version="mobile-sam")
    client.create_prediction(task.task_id, result=[given], score=0.5, model_version="mobile-sam")
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.open(project_id, task.task_id)
    editor.switch_on_auto_annotation()
    editor.take_smart_tool("key-point-tool", label=coin.label)
    editor.screenshot("standing")
    ring = wide & ~ndimage.binary_dilation(coin.mask, iterations=8)
    row, column = np.argwhere(ring)[0]
    editor.click_at(coin, float(column) + 0.5, float(row) + 0.5, with_alt=True)
    assert editor.suggestions_after([]) == [given["id"]]
    editor.screenshot("standing-refined")
    editor.press("bottombar-accept-suggestions-button")
    editor.screenshot("standing-accepted")
    editor.press("bottombar-submit-button")

    region = _submitted(outlined, task, kind="brushlabels")
    assert region["id"] == given["id"]
    assert iou(_mask(region, coin), coin.mask) > iou(wide, coin.mask)


def test_start_training_in_the_settings_queues_a_training(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, wired: Wired
) -> None:
    """No worker listens here: the training stays in the queue."""
    editor = Editor(browser, label_studio)
    editor.log_in()
    editor.start_training(wired.project_id)
    deadline = time.monotonic() + WAIT_S
    while (status := _status(wired))["phase"] != "queued" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status["phase"] == "queued"
    assert status["job"] == f"train-{wired.project_id}-1"


def _status(wired: Wired) -> dict:
    return requests.get(f"{wired.backend_url}/projects/{wired.project_id}/status", timeout=10).json()


def _backend_id(wired: Wired) -> int:
    (backend,) = wired.client.backends(wired.project_id)
    return int(backend["id"])


def _mask(region: dict, item: SampleObject) -> np.ndarray:
    height_px, width_px = item.mask.shape
    return mask_of_region(region, height_px=height_px, width_px=width_px)


def _submitted(wired: Wired, task: SampleTask, *, kind: str) -> dict:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        annotations = wired.client.task(task.task_id)["annotations"]
        if annotations:
            (annotation,) = annotations
            (region,) = [each for each in annotation["result"] if each["type"] == kind]
            return region
        time.sleep(0.3)
    pytest.fail("no annotation was submitted")


class Editor:
    """Label Studio's editor, as an annotator uses it."""

    def __init__(self, browser: webdriver.Chrome, label_studio: LabelStudioProcess) -> None:
        self.browser, self.label_studio = browser, label_studio
        self.wait = WebDriverWait(browser, WAIT_S, poll_frequency=0.2)

    def log_in(self) -> None:
        self.browser.get(f"{self.label_studio.url}/user/login/")
        self.browser.find_element(By.NAME, "email").send_keys(self.label_studio.user)
        self.browser.find_element(By.NAME, "password").send_keys(self.label_studio.password)
        self.browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        self.wait.until(lambda browser: "/user/login" not in browser.current_url)

    def open(self, project_id: int, task_id: int) -> None:
        self.browser.get(f"{self.label_studio.url}/projects/{project_id}/data?task={task_id}")
        self.find("[data-testid=bottombar-auto-annotation-toggle]")
        self.find(".konvajs-content canvas")

    def switch_on_auto_annotation(self) -> None:
        """The labels of smart tools appear only then."""
        toggle = self.find("[data-testid=bottombar-auto-annotation-toggle]")
        self.browser.execute_script("arguments[0].click()", toggle)
        self.find(".lsf-tool_smart")

    def take_smart_tool(self, tool: str, *, label: str) -> None:
        """Without the tool a click makes a plain keypoint and asks nobody."""
        self.select_label(label, tool=tool)
        ActionChains(self.browser).move_to_element(self.find(".lsf-tool_smart")).perform()
        button = self.find(f".lsf-tool_smart[aria-label={tool}]")
        self.browser.execute_script("arguments[0].click()", button)
        self.find(".lsf-tool_smart.lsf-tool_active")

    def select_label(self, label: str, *, tool: str) -> None:
        """Every label is there three times, for brush, keypoint and rectangle in the order of the label config."""
        labels = [
            each
            for each in self.browser.find_elements(By.CSS_SELECTOR, ".lsf-label")
            if str(each.get_attribute("textContent")).startswith(label)
        ]
        assert len(labels) == 3, f"{len(labels)} labels {label!r} in the editor"
        number = {"key-point-tool": 1, "rectangle-tool": 2}[tool]
        self.browser.execute_script("arguments[0].click()", labels[number])

    def click_on(self, item: SampleObject) -> None:
        """Click on the middle of an object, and wait for what the backend makes of it."""
        self.click_at(item, *centre_px(item))
        self.find("[data-testid=bottombar-accept-suggestions-button]")

    def click_at(self, item: SampleObject, x_px: float, y_px: float, *, with_alt: bool = False) -> None:
        """Click on a point of an object's photograph; with ALT it is a background click."""
        click = ActionChains(self.browser)
        click.move_to_element_with_offset(self.find(".konvajs-content"), *self.on_canvas(item, x_px, y_px))
        if with_alt:
            click.key_down(Keys.ALT).click().key_up(Keys.ALT)
        else:
            click.click()
        click.perform()

    def suggestions(self) -> list[str]:
        """The ids of the regions that wait to be accepted."""
        return self.browser.execute_script(
            "return Array.from(window.Htx.annotationStore.selected.suggestions.values()).map(each => each.cleanId)"
        )

    def suggestions_after(self, before: list[str]) -> list[str]:
        """The ids of the regions that wait, once there are others than before."""
        return self.wait.until(lambda _: (now := self.suggestions()) != before and now)

    def drag_around(self, item: SampleObject) -> None:
        """Draw a box around an object, and wait for what the backend makes of it."""
        canvas, (rows, columns) = self.find(".konvajs-content"), np.nonzero(item.mask)
        (from_x, from_y), (to_x, to_y) = (
            self.on_canvas(item, float(columns.min()), float(rows.min())),
            self.on_canvas(item, float(columns.max()) + 1, float(rows.max()) + 1),
        )
        drag = ActionChains(self.browser).move_to_element_with_offset(canvas, from_x, from_y).click_and_hold()
        drag.move_by_offset((to_x - from_x) // 2, (to_y - from_y) // 2)
        drag.move_to_element_with_offset(canvas, to_x, to_y).release().perform()
        self.find("[data-testid=bottombar-accept-suggestions-button]")

    def start_training(self, project_id: int) -> None:
        """Settings -> Model -> the three dots -> Start Training, and once more in the dialog that asks."""
        self.browser.get(f"{self.label_studio.url}/projects/{project_id}/settings/ml")
        self.find("[aria-label='Machine learning model options']").click()
        for element in ("span", "button"):
            path = f"//{element}[normalize-space()='Start Training']"
            self.wait.until(lambda browser, path=path: browser.find_elements(By.XPATH, path))[-1].click()

    def on_canvas(self, item: SampleObject, x_px: float, y_px: float) -> tuple[int, int]:
        """A point of the photograph in CSS pixels from the canvas's middle, as selenium counts."""
        canvas, (height_px, width_px) = self.find(".konvajs-content").rect, item.mask.shape
        left, top, width, height = self.image_rectangle()
        return (
            round(left + width * x_px / width_px - canvas["width"] / 2),
            round(top + height * y_px / height_px - canvas["height"] / 2),
        )

    def image_rectangle(self) -> tuple[float, float, float, float]:
        """Where the photograph lies on the canvas: left, top, width, height in CSS pixels."""
        left, top, width, height = self.browser.execute_script(
            "const image = window.Htx.annotationStore.selected.objects.find(each => each.type === 'image');"
            "return [image.zoomingPositionX, image.zoomingPositionY, image.stageWidth * image.zoomScale,"
            " image.stageHeight * image.zoomScale];"
        )
        return float(left), float(top), float(width), float(height)

    def press(self, test_id: str) -> None:
        button = self.find(f"[data-testid={test_id}]")
        self.wait.until(lambda _: button.is_enabled())
        self.browser.execute_script("arguments[0].click()", button)

    def find(self, selector: str) -> WebElement:
        return self.wait.until(
            lambda browser: next(iter(browser.find_elements(By.CSS_SELECTOR, selector)), False),
            message=f"{selector} did not appear on {self.browser.current_url}",
        )

    def screenshot(self, name: str) -> None:
        """Into the folder that SAMLOOP_SCREENSHOTS names, if it names one."""
        if folder := os.environ.get("SAMLOOP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))
