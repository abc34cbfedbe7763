"""Gestures of the tests' editor: made again where the editor dropped them, and only there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from support.editor import Editor

from backend.cli.demo.samples import SampleObject

pytestmark = pytest.mark.browser
# A page with the parts of Label Studio's editor that the gestures ask for. It drops its first clicks, and forgets tool
# and label with every click, as the editor does where it begins an annotation anew.
PAGE = """
<button data-testid="bottombar-auto-annotation-toggle"></button>
<div class="lsf-tool_smart">
  <button class="lsf-tool_smart" aria-label="key-point-tool" onclick="tool = SMART">tool</button>
</div>
<p class="lsf-label">Coin</p><p class="lsf-label" onclick="labels = ['Coin']">Coin</p><p class="lsf-label">Coin</p>
<div class="konvajs-content" style="width: 100px; height: 100px"><canvas width="100" height="100"></canvas></div>
<script>
const SMART = "KeyPointTool-dynamic";
const toDrop = Number(new URLSearchParams(location.search).get("drops"));
let tool = "none", labels = [], clicks = 0;
const areas = new Map(), suggestions = new Map();
const image = {
  type: "image", imageIsLoaded: true, zoomingPositionX: 0, zoomingPositionY: 0, stageWidth: 100, stageHeight: 100,
  zoomScale: 1, getToolsManager: () => ({ findSelectedTool: () => ({ fullName: tool }) }),
};
const names = new Map([["kp", { type: "keypointlabels", selectedValues: () => labels }]]);
window.Htx = {
  task: { id: 7 }, isLoading: false, autoAnnotation: true,
  annotationStore: { selected: { id: "a", type: "annotation", objects: [image], names, areas, suggestions } },
};
document.querySelector("canvas").addEventListener("click", () => {
  clicks += 1;
  const isTaken = tool === SMART && labels.length && clicks > toDrop;
  tool = "none", labels = [];
  if (!isTaken) return;
  areas.set(`area-${clicks}`, { id: `area-${clicks}`, dynamic: true });
  setTimeout(() => suggestions.set("mask", { cleanId: "mask" }), 500);
});
</script>
"""
COIN = SampleObject(label="Coin", mask=np.pad(np.ones((20, 20), dtype=bool), 40))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "editor.html"
    page.write_text(PAGE)
    return page


def _open_editor(browser: webdriver.Chrome, page: Path, *, drops: int) -> Editor:
    """Open the page, which drops that many clicks, and take the smart tool."""
    log = page.with_name("backend.log")
    log.write_text("the backend's last line")
    label_studio: Any = SimpleNamespace(url=f"{page.as_uri()}?drops={drops}&path=")
    editor = Editor(browser, label_studio, backend_log=log)
    editor.open(1, 7)
    editor.take_smart_tool("key-point-tool", label="Coin")
    return editor


@pytest.mark.parametrize("drops", [0, 2])
def test_a_gesture_is_made_until_the_editor_took_it_and_never_again(
    browser: webdriver.Chrome, page: Path, drops: int
) -> None:
    editor = _open_editor(browser, page, drops=drops)
    editor.click_on(COIN)
    assert editor.suggestions() == ["mask"]
    assert browser.execute_script("return clicks") == drops + 1


def test_a_gesture_that_is_always_dropped_tells_the_editors_state_and_the_backends_log(
    browser: webdriver.Chrome, page: Path
) -> None:
    editor = _open_editor(browser, page, drops=1000)
    with pytest.raises(AssertionError, match="dropped a gesture 5 times") as failure:
        editor.click_on(COIN)
    assert "tool='none'" in str(failure.value)
    assert "answer='nothing was asked'" in str(failure.value)
    assert "the backend's last line" in str(failure.value)
