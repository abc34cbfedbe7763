"""Label Studio's editor in a real browser, as an annotator uses it."""

import os
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from support.browser import wait_in

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.cli.demo.project import centre_px
from backend.cli.demo.samples import SampleObject

WAIT_S = 120


class Editor:
    """Label Studio's editor, as an annotator uses it."""

    def __init__(self, browser: webdriver.Chrome, label_studio: LabelStudioProcess) -> None:
        self.browser, self.label_studio = browser, label_studio
        self.wait = wait_in(browser, seconds=WAIT_S, every_s=0.2)

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
        """Switch the smart tools on: only then do their labels appear."""
        toggle = self.find("[data-testid=bottombar-auto-annotation-toggle]")
        self.browser.execute_script("arguments[0].click()", toggle)
        self.find(".lsf-tool_smart")

    def take_smart_tool(self, tool: str, *, label: str) -> None:
        """Choose the smart tool: without it, a click makes a plain keypoint and sends no request."""
        self.select_label(label, tool=tool)
        self.wait.until(lambda _: self._take(tool))
        self.find(".lsf-tool_smart.lsf-tool_active")

    def _take(self, tool: str) -> bool:
        """Click the tool; the wait around it tries again if the toolbar is drawn anew meanwhile."""
        ActionChains(self.browser).move_to_element(self.find(".lsf-tool_smart")).perform()
        button = self.find(f".lsf-tool_smart[aria-label={tool}]")
        self.browser.execute_script("arguments[0].click()", button)
        return True

    def select_label(self, label: str, *, tool: str) -> None:
        """Choose a label, which appears three times: for brush, keypoint and rectangle, in the label config's order."""
        number = {"key-point-tool": 1, "rectangle-tool": 2}[tool]
        # In one script: Label Studio draws its labels anew at any moment.
        count = self.browser.execute_script(
            "const labels = Array.from(document.querySelectorAll('.lsf-label'))"
            ".filter(element => element.textContent.startsWith(arguments[0]));"
            "labels[arguments[1]]?.click(); return labels.length",
            label,
            number,
        )
        assert count == 3, f"{count} labels {label!r} in the editor"

    def click_on(self, item: SampleObject) -> None:
        """Click on the middle of an object, and wait for the backend's region."""
        self.click_at(item, *centre_px(item))
        self.find("[data-testid=bottombar-accept-suggestions-button]")

    def click_at(self, item: SampleObject, x_px: float, y_px: float, *, with_alt: bool = False) -> None:
        """Click on a point of the photograph; with ALT it is a background click."""
        click = ActionChains(self.browser)
        click.move_to_element_with_offset(self.find(".konvajs-content"), *self.on_canvas(item, x_px, y_px))
        if with_alt:
            click.key_down(Keys.ALT).click().key_up(Keys.ALT)
        else:
            click.click()
        click.perform()

    def suggestions(self) -> list[str]:
        """The ids of the regions that are not accepted yet."""
        return self.browser.execute_script(
            "return Array.from(window.Htx.annotationStore.selected.suggestions.values()).map(region => region.cleanId)"
        )

    def suggestions_after(self, before: list[str]) -> list[str]:
        """Wait for new regions that are not accepted yet, and return their ids."""
        return self.wait.until(lambda _: (now := self.suggestions()) != before and now)

    def drag_around(self, item: SampleObject) -> None:
        """Draw a box around an object, and wait for the backend's region."""
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
        """Choose Settings -> Model -> the three dots -> Start Training, and confirm in the dialog."""
        self.browser.get(f"{self.label_studio.url}/projects/{project_id}/settings/ml")
        self.find("[aria-label='Machine learning model options']").click()
        for element in ("span", "button"):
            path = f"//{element}[normalize-space()='Start Training']"
            self.wait.until(lambda browser, path=path: browser.find_elements(By.XPATH, path))[-1].click()

    def on_canvas(self, item: SampleObject, x_px: float, y_px: float) -> tuple[int, int]:
        """A point of the photograph in CSS pixels from the middle of the canvas, as selenium expects."""
        canvas, (height_px, width_px) = self.find(".konvajs-content").rect, item.mask.shape
        left, top, width, height = self.image_rectangle()
        return (
            round(left + width * x_px / width_px - canvas["width"] / 2),
            round(top + height * y_px / height_px - canvas["height"] / 2),
        )

    def image_rectangle(self) -> tuple[float, float, float, float]:
        """The photograph's left, top, width and height on the canvas, in CSS pixels."""
        left, top, width, height = self.browser.execute_script(
            "const image = window.Htx.annotationStore.selected.objects.find(object => object.type === 'image');"
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

    def text(self) -> str:
        """All that the page shows in words."""
        return str(self.browser.execute_script("return document.body.innerText"))

    def screenshot(self, name: str) -> None:
        """Save a screenshot in the folder SAMLOOP_SCREENSHOTS, if that is set."""
        if folder := os.environ.get("SAMLOOP_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))
