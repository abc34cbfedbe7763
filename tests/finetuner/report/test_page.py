"""The page tells all that a manifest knows, needs nothing from anywhere, and can be looked at."""

import base64
import io
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from support.pictures import encode_image

from backend.registry.checkpoint import Manifest
from backend.registry.metrics import CheckpointMetrics, Exclusion, Recipe, Verdict
from finetuner.data.objects import SIZES
from finetuner.report.overlays import Overlay
from finetuner.report.page import Shown, render

M = {"iou": 0.7, "dice": 0.8, "boundary_iou": 0.6, "hd95_px": 3.0, "over_area": 0.1, "under_area": 0.2, "n": 20}
SCORES = {"n": 40, "ece": 0.1, "correlation": None, "rank_correlation": 0.25, "bins": [[10, 0.5, 0.6], [30, 0.9, 0.7]]}
REPORT = {
    "box": M,
    "point": M,
    "clicks": {str(k): 0.5 + k / 20 for k in range(8)},
    "clicks_to": {"0.85": {"clicks": 3.25, "reached": 0.5}, "0.90": {"clicks": 5.5, "reached": 0.25}},
    "labels": {"A&B": M, "<script>alert(1)</script>": M},
    "sizes": {"small": M, "large": M},
    "calibration": {"predicted_iou": SCORES, "score": SCORES, "calibrated": SCORES},
    "semantic": None,
}
INTERVALS = {
    "iou": [0.1, 0.05, 0.15],
    "dice": [0.0, -0.1, 0.1],
    "boundary_iou": [-0.1, -0.2, -0.05],
    "hd95_px": [-3.0, -5.0, -1.0],
    "over_area": [0.2, 0.1, 0.3],
    "under_area": [0.0, 0.0, 0.0],
}
FORGETTING = {
    "images": 6,
    "objects": 46,
    "base": {"box": M, "point": M},
    "candidate": {"box": M, "point": M},
    "difference": {"box": INTERVALS, "point": INTERVALS | {"iou": [-0.07, -0.11, -0.04]}},
    "said": "On 6 unrelated photographs, IoU with the 46 masks that the base finds there by itself: as told.",
}
METRICS: dict[str, Any] = {
    "forgetting": FORGETTING,
    "images": 6,
    "objects": 60,
    "base": REPORT,
    "candidate": REPORT,
    "served": REPORT,
    "difference": {"box": INTERVALS, "point": INTERVALS},
    "curves": {
        "training": [[4, 0.9, 0.8, 0.1], [8, 0.5, 0.4, 0.1]],
        "held_out": [
            {"step": step, "loss": {"box": 0.1, "point": 0.4}, "iou": {"box": 0.8, "point": iou}}
            for step, iou in ((0, 0.5), (8, 0.7))
        ],
    },
    "split": {"said": "34 images to learn from, 6 held out"},
    "ended_at": {"epochs": 1, "steps": 8, "seconds": 3.0},
    "data": {
        "images": 40,
        "objects": 387,
        "ground_truth_images": 2,
        "sizes": {"small": 300, "medium": 80, "large": 7},
        "labels": {"A&B": {"objects": 387, "images": 40, "median_area_px": 400, "small": 300}},
        "left_out": [],
    },
}


def _manifest(metrics: dict[str, Any], *, promote: bool = False) -> Manifest:
    return Manifest(
        version="",
        project_id=7,
        base_model="mobile-sam",
        base_fingerprint="f" * 64,
        method="decoder",
        parent="v1",
        data_digest="d" * 64,
        config=Recipe.model_validate({"seed": 0}),
        metrics=CheckpointMetrics.from_json(metrics),
        verdict=Verdict(promote=promote, reasons=("box prompts lost -.018 [-.030, -.002] IoU",)),
        excluded=(Exclusion(reason="an unknown label", count=3),),
        created_at="2026-01-01T00:00:00+00:00",
        code_version="0.1.0",
    )


def _overlay() -> Overlay:
    return Overlay(
        label="<i>Disc</i>",
        prompt="point",
        image="abcdef",
        iou_before=0.2,
        iou_after=0.9,
        boundary_iou_before=0.1,
        boundary_iou_after=0.8,
        width_px=30,
        height_px=20,
        picture=f"data:image/png;base64,{base64.b64encode(encode_image(np.full((20, 30, 3), 90, np.uint8))).decode()}",
        human="M8 8H20",
        base="M2 2H9",
        candidate="",
        box=None,
        click=None,
    )


class _Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> bytes:
    return render(_manifest(METRICS), Shown(weights_sha256="0a1b2c" * 10, improved=[_overlay()], worsened=[]))


def test_the_page_tells_the_verdict_and_the_figures_of_all_three(page: bytes) -> None:
    text = re.sub(r"\s+", " ", _Page(page).text)
    for told in (
        "Not promoted: kept as a challenger",
        "box prompts lost -.018",
        "34 images to learn from",
        "60 objects on 6 images",
        "this checkpoint",
        "served",
        "+0.100 [+0.050, +0.150] better",
        "-0.100 [-0.200, -0.050] worse",
        "-3.000 [-5.000, -1.000] better",
        "+0.200 [+0.100, +0.300] worse",
        "3.25 (50% reach it)",
        "387 objects",
        "3 \N{MULTIPLICATION SIGN} an unknown label",
        "IoU 0.200 → 0.900",
        "No object got worse",
        "calibration error",
    ):
        assert told in text
    assert b"Better than the version served before" in render(
        _manifest(METRICS, promote=True), Shown(weights_sha256="0" * 64)
    )


def test_sizes_stand_from_small_to_large_however_the_manifest_sorts_them() -> None:
    sizes = {"large": M, "medium": M, "small": M}
    report = {**REPORT, "labels": {}, "sizes": sizes}
    shown = render(_manifest({"base": report, "candidate": report}), Shown(weights_sha256="0" * 64)).decode()
    assert [shown.index(f">{size}<") for size in SIZES] == sorted(shown.index(f">{size}<") for size in SIZES)


def test_what_was_forgotten_stands_with_its_sentence_and_so_does_why_it_was_not_measured(page: bytes) -> None:
    assert FORGETTING["said"] in page.decode()
    (row,) = re.findall(r"<tr>(?:(?!</tr>).)*IoU with one click.*?</tr>", page.decode(), re.DOTALL)[:1]
    assert "-0.070 [-0.110, -0.040] worse" in row
    unmeasured = {"base": REPORT, "candidate": REPORT, "forgetting": {"said": "Forgetting was not measured: why."}}
    why = render(_manifest(unmeasured), Shown(weights_sha256="0" * 64)).decode()
    assert "Forgetting was not measured: why." in why
    assert "with one click</th>" not in why


def test_one_flooded_mask_does_not_flatten_the_other_whiskers() -> None:
    flooded = {**INTERVALS, "over_area": [-19.0, -51.0, -1.0]}
    metrics = {"base": REPORT, "candidate": REPORT, "difference": {"box": flooded, "point": flooded}}
    shown = render(_manifest(metrics), Shown(weights_sha256="0" * 64)).decode()
    assert '<line class="reach" x1="62.5" x2="87.5"' in shown


def test_names_from_outside_stay_text(page: bytes) -> None:
    found = _Page(page)
    assert "<script>alert(1)</script>" in found.text
    assert "<i>Disc</i>" in found.text
    assert "script" not in {tag for tag, _ in found.tags}


def test_nothing_is_fetched_from_anywhere(page: bytes) -> None:
    for tag, attributes in _Page(page).tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
    assert not re.search(rb"url\(|@import|https?://", page)


@pytest.mark.parametrize("metrics", [{}, {"candidate": REPORT, "base": REPORT}, {"curves": {"training": []}}])
def test_a_manifest_that_knows_little_has_a_page_too(metrics: dict[str, Any]) -> None:
    assert b"What changed most" in render(_manifest(metrics), Shown(weights_sha256="0" * 64))


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def _brightness(png: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(png)).convert("L")).mean())


@pytest.mark.browser
@pytest.mark.parametrize("width_px", [1280, 400])
def test_a_browser_shows_it_light_and_dark_at_a_desk_and_on_a_telephone(
    page: bytes, tmp_path: Path, chromium: webdriver.Chrome, width_px: int
) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(page)
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": width_px < 500},
    )
    seen = {}
    for theme in ("light", "dark"):
        chromium.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        )
        chromium.get(file.as_uri())
        seen[theme] = _brightness(chromium.get_screenshot_as_png())
        # Wide tables scroll within themselves, the page never sideways.
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width_px
        assert chromium.execute_script("return document.querySelector('.case image').getBBox().width") == 30
    assert seen["dark"] < 80
    assert seen["light"] > 200
    assert chromium.execute_script("return getComputedStyle(document.querySelector('.case .base')).display") != "none"
    chromium.find_element("id", "show-base").click()
    assert chromium.execute_script("return getComputedStyle(document.querySelector('.case .base')).display") == "none"
    assert chromium.get_log("browser") == []
