"""Pictures of the pages by role: what annotators, analysts, engineers and operators see in a running demo.

make demo                                   (its first lines tell addresses and password)
python tests/benchmarks/role_pictures.py --password PASSWORD [--only training]

Clicks in the first task without an annotation, and submits nothing. "training" is taken while a training runs, all
others after one. The pictures go to .github/.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from selenium import webdriver

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import ROOT
from benchmarks.review import open_page, save_picture
from support.browser import chromium, open_chromium, wait_in
from support.editor import Editor

from backend.cli.demo.nuclei import LABEL, sample_nuclei

_SIZE_PX = 1280, 860
_WAITING = 6  # images of the demo that have no annotation
_PAGES = {
    "analyst-images": ("images", 760),
    "engineer-versions": ("versions", 620),
    "operator-overview": ("", 760),
}


@dataclass(frozen=True, slots=True)
class Demo:
    """Where a running demo is, and how people log in; as `LabelStudioProcess` says it."""

    url: str
    user: str
    password: str
    review: str


def take_editor(demo: Demo, out: Path, *, profile: Path) -> None:
    """The editor's settings, and a mask that a click just brought."""
    number = len(sample_nuclei()) - _WAITING
    objects = sample_nuclei()[number].objects
    with open_chromium(profile, "--window-size={},{}".format(*_SIZE_PX)) as browser:
        editor = Editor(browser, demo)  # type: ignore[arg-type]  # it reads address, user and password alone
        editor.log_in()
        editor.open(1, number + 1)
        browser.find_element("css selector", "[data-testid=bottombar-settings-button], [aria-label=Settings]").click()
        wait_in(browser).until(lambda it: "Keep label selected" in it.page_source)
        time.sleep(1)  # the panel slides in
        save_picture(browser, out / "annotator-settings", tallest_px=_SIZE_PX[1])
        editor.open(1, number + 1)
        editor.switch_on_auto_annotation()
        for item in objects[:3]:
            editor.take_smart_tool("key-point-tool", label=LABEL)
            editor.click_on(item)
            if item is not objects[2]:
                editor.accept()
        save_picture(browser, out / "annotator-click", tallest_px=_SIZE_PX[1])


def take_review(demo: Demo, out: Path, *, profile: Path, names: list[str]) -> None:
    """The review pages that the pages by role show."""
    with chromium(profile, width_px=_SIZE_PX[0]) as browser:
        for name in names:
            path, tallest_px = _PAGES[name]
            _take(browser, f"{demo.review}/{path}".rstrip("/"), out / name, tallest_px=tallest_px)


def _take(browser: webdriver.Chrome, address: str, path: Path, *, tallest_px: int) -> None:
    open_page(browser, address)
    time.sleep(1)  # the page's script asks for what is served and trained
    save_picture(browser, path, tallest_px=tallest_px)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label-studio", default="http://127.0.0.1:8080")
    parser.add_argument("--backend", default="http://127.0.0.1:9090")
    parser.add_argument("--user", default="demo@example.com")
    parser.add_argument("--password", required=True)
    parser.add_argument("--only", choices=("training",))
    given = parser.parse_args()
    demo = Demo(given.label_studio, given.user, given.password, f"{given.backend}/review/1")
    out = ROOT / ".github"
    with tempfile.TemporaryDirectory() as folder:
        if given.only == "training":
            take_review(demo, out, profile=Path(folder) / "review", names=["operator-overview"])
            return
        take_editor(demo, out, profile=Path(folder) / "editor")
        take_review(demo, out, profile=Path(folder) / "review", names=["analyst-images", "engineer-versions"])


if __name__ == "__main__":
    main()
