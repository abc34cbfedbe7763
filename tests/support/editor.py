"""Label Studio's editor in a real browser, as an annotator uses it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from support.browser import take_screenshot, wait_in
from support.editor_state import EditorState, let_events_pass, watch_answer

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.cli.demo.project import centre_px
from backend.cli.demo.samples import SampleObject

T = TypeVar("T")
WAIT_S = 120
_TRIES = 5
_LOG_END = 2000
# A smart tool's button, its name in the editor's state, the kind of its labels, and their place among the three.
_TOOLS = {
    "key-point-tool": ("KeyPointTool-dynamic", "keypointlabels", 1),
    "rectangle-tool": ("RectangleTool-dynamic", "rectanglelabels", 2),
}


class Editor:
    """Label Studio's editor, as an annotator uses it.

    It drops what is done while it draws itself anew, which a busy machine shows. So every gesture is looked for in the
    editor's own state, and made again only where the editor did not take it.
    """

    def __init__(
        self, browser: webdriver.Chrome, label_studio: LabelStudioProcess, *, backend_log: Path | None = None
    ) -> None:
        self.browser, self.label_studio, self.backend_log = browser, label_studio, backend_log
        self.wait = wait_in(browser, seconds=WAIT_S, every_s=0.2)
        self._task_id = 0
        self._tool = self._label = ""

    def log_in(self) -> None:
        self.browser.get(f"{self.label_studio.url}/user/login/")
        self.browser.find_element(By.NAME, "email").send_keys(self.label_studio.user)
        self.browser.find_element(By.NAME, "password").send_keys(self.label_studio.password)
        self.browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        self.wait.until(lambda browser: "/user/login" not in browser.current_url)

    def open(self, project_id: int, task_id: int) -> None:
        self._task_id, self._tool, self._label = task_id, "", ""
        self.browser.get(f"{self.label_studio.url}/projects/{project_id}/data?task={task_id}")
        self.find("[data-testid=bottombar-auto-annotation-toggle]")
        self.find(".konvajs-content canvas")
        self._prepare()

    def switch_on_auto_annotation(self) -> None:
        """Switch the smart tools on: only then do their labels appear. The editor remembers it."""

        def is_on() -> bool:
            if (now := EditorState.read(self.browser)) and not now.is_assisted:
                self._click_if_there("[data-testid=bottombar-auto-annotation-toggle]")
            return now is not None and now.is_assisted

        self._wait_for(is_on, "auto-annotation is switched on")
        self.find(".lsf-tool_smart")

    def take_smart_tool(self, tool: str, *, label: str) -> None:
        """Choose the smart tool and a label: without them, a gesture makes a plain region and sends no request."""
        self._tool, self._label = tool, label
        self._prepare()

    def _prepare(self) -> EditorState:
        """Wait until the editor is at rest with the tool and the label that were taken; choose them where it is not."""
        state = self._wait_for(self._choose_what_is_missing, "the editor is at rest, with its tool and its label")
        watch_answer(self.browser)
        return state

    def _choose_what_is_missing(self) -> EditorState | None:
        now = EditorState.read(self.browser)
        if now is None or not now.is_at_rest or now.task_id != self._task_id:
            return None
        if not self._tool:
            return now
        tool, kind, number = _TOOLS[self._tool]
        if now.tool != tool:
            self._click_tool()
        elif f"{kind}: {self._label}" not in now.labels:
            self._click_label(number)
        else:
            return now
        return None

    def _click_tool(self) -> None:
        """Click the smart tool, which shows once the pointer is over their group."""
        if groups := self.browser.find_elements(By.CSS_SELECTOR, ".lsf-tool_smart"):
            ActionChains(self.browser).move_to_element(groups[0]).perform()
            self._click_if_there(f".lsf-tool_smart[aria-label={self._tool}]")

    def _click_label(self, number: int) -> None:
        """Click a label, which appears three times: for brush, keypoint and rectangle, in the label config's order."""
        # In one script: Label Studio draws its labels anew at any moment.
        count = self.browser.execute_script(
            "const labels = Array.from(document.querySelectorAll('.lsf-label'))"
            ".filter(element => element.textContent.startsWith(arguments[0]));"
            "labels[arguments[1]]?.click(); return labels.length",
            self._label,
            number,
        )
        assert count in {0, 3}, f"{count} labels {self._label!r} in the editor"

    def click_on(self, item: SampleObject) -> None:
        """Click on the middle of an object, and wait for the backend's region."""
        before = self.click_at(item, *centre_px(item))
        self.suggestions_after(list(before.suggestions))

    def click_at(self, item: SampleObject, x_px: float, y_px: float, *, keys: str = "") -> EditorState:
        """Click on a point of the photograph, and return the state before it.

        Args:
            item: an object of the photograph.
            x_px: the point's column.
            y_px: the point's row.
            keys: what is held down: ALT makes it a background click, and with CONTROL the tool gets it on a mask that
                stands already, which the editor selects otherwise.
        """

        def click() -> None:
            chain = ActionChains(self.browser)
            chain.move_to_element_with_offset(self.find(".konvajs-content"), *self.on_canvas(item, x_px, y_px))
            for key in keys:
                chain.key_down(key)
            chain.click()
            for key in keys:
                chain.key_up(key)
            chain.perform()

        return self._make(click)

    def drag_around(self, item: SampleObject) -> None:
        """Draw a box around an object, and wait for the backend's region."""

        def drag() -> None:
            canvas, (rows, columns) = self.find(".konvajs-content"), np.nonzero(item.mask)
            (from_x, from_y), (to_x, to_y) = (
                self.on_canvas(item, float(columns.min()), float(rows.min())),
                self.on_canvas(item, float(columns.max()) + 1, float(rows.max()) + 1),
            )
            chain = ActionChains(self.browser).move_to_element_with_offset(canvas, from_x, from_y).click_and_hold()
            chain.move_by_offset((to_x - from_x) // 2, (to_y - from_y) // 2)
            chain.move_to_element_with_offset(canvas, to_x, to_y).release().perform()

        before = self._make(drag)
        self.suggestions_after(list(before.suggestions))

    def _make(self, gesture: Callable[[], None]) -> EditorState:
        """Make a gesture, again where the editor dropped it, never again where it drew a region."""
        for _ in range(_TRIES):
            before = self._prepare()
            gesture()
            let_events_pass(self.browser)
            after = EditorState.read(self.browser)
            if after is not None and after.has_taken(before):
                return before
        raise AssertionError(self._describe(f"the editor dropped a gesture {_TRIES} times"))

    def suggestions(self) -> list[str]:
        """The ids of the regions that are not accepted yet."""
        now = EditorState.read(self.browser)
        return list(now.suggestions) if now else []

    def suggestions_after(self, before: list[str]) -> list[str]:
        """Wait for new regions that are not accepted yet, and return their ids."""
        return self._wait_for(lambda: (now := self.suggestions()) != before and now, f"other masks than {before}")

    def accept(self) -> None:
        """Accept the masks that are suggested."""
        self._press_until("bottombar-accept-suggestions-button", lambda now: not now.suggestions)

    def submit(self) -> None:
        """Submit the annotation."""
        self._press_until("bottombar-submit-button", lambda now: now.is_submitted)

    def _press_until(self, test_id: str, is_done: Callable[[EditorState], bool]) -> None:
        def is_pressed() -> bool:
            now = EditorState.read(self.browser)
            if now is not None and now.is_at_rest and not is_done(now):
                self.press(test_id)
                return False
            return now is not None and is_done(now)

        self._wait_for(is_pressed, f"{test_id} did what it does")

    def start_training(self, project_id: int) -> None:
        """Choose Settings -> Model -> the three dots -> Start Training, and confirm in the dialog."""
        self.browser.get(f"{self.label_studio.url}/projects/{project_id}/settings/ml")
        item, button = (f"//{element}[normalize-space()='Start Training']" for element in ("span", "button"))
        menu = "//*[@aria-label='Machine learning model options']"
        self.click_until(menu, lambda browser: browser.find_elements(By.XPATH, item))
        self.click_until(item, lambda browser: browser.find_elements(By.XPATH, button))
        self.click_until(button, lambda browser: not browser.find_elements(By.XPATH, button))

    def click_until(self, path: str, is_done: Callable[[webdriver.Chrome], object]) -> None:
        """Click what an XPath names until the page shows that it took it: a busy page drops a click at times."""

        def is_taken(browser: webdriver.Chrome) -> bool:
            if not is_done(browser) and (elements := browser.find_elements(By.XPATH, path)):
                browser.execute_script("arguments[0].click()", elements[-1])
                let_events_pass(browser)
            return bool(is_done(browser))

        self.wait.until(is_taken, message=f"{path} did nothing on {self.browser.current_url}")

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
        """Press a button once, as soon as it can be pressed."""
        # In one script: a button that was looked up may be drawn anew before it is pressed.
        script = (
            "const button = document.querySelector(arguments[0]);"
            "if (!button || button.disabled) return false; button.click(); return true"
        )
        selector = f"[data-testid={test_id}]"
        self._wait_for(lambda: self.browser.execute_script(script, selector), f"{test_id} can be pressed")

    def _click_if_there(self, selector: str) -> None:
        self.browser.execute_script("document.querySelector(arguments[0])?.click()", selector)

    def _wait_for(self, condition: Callable[[], T | None], what: str) -> T:
        """Return the first answer that is true.

        Raises:
            AssertionError: there was none within `WAIT_S`; the message holds all that tells the cause.
        """
        try:
            return self.wait.until(lambda _: condition())
        except TimeoutException as late:
            raise AssertionError(self._describe(f"not within {WAIT_S} s: {what}")) from late

    def _describe(self, failure: str) -> str:
        """What failed, the editor's state, what the page logged, and the end of the backend's log."""
        console = [entry["message"] for entry in self.browser.get_log("browser")][-5:]
        log = self.backend_log.read_text(errors="replace")[-_LOG_END:] if self.backend_log else "not known here"
        return (
            f"{failure}\npage: {self.browser.current_url}\neditor: {EditorState.read(self.browser)}\n"
            f"console: {console}\nbackend: {log}"
        )

    def find(self, selector: str) -> WebElement:
        return self._wait_for(
            lambda: next(iter(self.browser.find_elements(By.CSS_SELECTOR, selector)), None), f"{selector} on the page"
        )

    def text(self) -> str:
        """All that the page shows in words."""
        return str(self.browser.execute_script("return document.body.innerText"))

    def screenshot(self, name: str) -> None:
        """Save a screenshot, as `take_screenshot` does."""
        take_screenshot(self.browser, name)
