"""The review pages as people see them: images, faults on any page, and how soon 200 masks are painted.

python tests/benchmarks/review.py NUCLEI --folder DIR [--only pictures checks paint]

NUCLEI is a folder with export.json and images/ (exports.py builds it). DIR keeps the trained versions: they take some
minutes on two cores, once. The images go to .github/, the sentence on paint into docs/results.md.
"""

import argparse
import base64
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import ROOT, commit, machine, say, write_result
from benchmarks.review_site import Site, site
from support.auditing import faults, tabbed, wear
from support.browser import chromium

OBJECTS = 200
_DESK_PX, _PHONE_PX = 1280, 390
_MOST_BYTES = 150_000
_COLOURS = (256, 128, 64)
_TALLEST_PX = 1100
_VISITS = 7
_PAINT = """
const done = arguments[0], shown = [...document.querySelectorAll('.cards img')].filter((image) => {
  const box = image.getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; });
Promise.all(shown.map((image) => image.decode())).then(() => {
  const paint = Object.fromEntries(performance.getEntriesByType('paint').map((entry) => [entry.name, entry.startTime]));
  const [page] = performance.getEntriesByType('navigation');
  const crops = performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/crops/'));
  done({first: paint['first-contentful-paint'], answered: page.responseEnd, page: page.transferSize,
    cards: document.querySelectorAll('.card').length, pictures: shown.length, sent: crops.length,
    bytes: crops.reduce((sum, entry) => sum + entry.transferSize, 0), all: performance.now(),
    larger: Math.max(...shown.map((image) => Math.max(image.naturalWidth / image.clientWidth,
      image.naturalHeight / image.clientHeight) / devicePixelRatio))});
});
"""


def pages(here: Site) -> dict[str, str]:
    """The address of every page, by its name."""
    first, last = here.versions[0], here.versions[-1]
    return {
        "overview": here.review,
        "versions": f"{here.review}/versions",
        "compare": f"{here.review}/versions" + (f"?a={first}&b={last}" if first != last else ""),
        "masks": f"{here.review}/masks?version={last}&prompt=point",
        "images": f"{here.review}/images?version={last}",
        "data": f"{here.review}/data?version={last}",
        "decide": f"{here.review}/decide?version={first}",
        "failure": f"{here.review}/masks?version=none-of-ours",
    }


def open_page(browser: webdriver.Chrome, address: str) -> None:
    """Open the address, and wait until every image in view is loaded."""
    browser.get(address)
    _wait_for_images(browser)


def _wait_for_images(browser: webdriver.Chrome) -> None:
    seen = "return [...document.images].every((image) => image.complete || image.loading === 'lazy')"
    WebDriverWait(browser, 120).until(lambda it: it.execute_script(seen))


def look_closer(browser: webdriver.Chrome) -> None:
    """From the masks to the first of them."""
    open_page(browser, browser.execute_script("return document.querySelector('.cards .look').href"))


def take_pictures(here: Site, out: Path) -> None:
    """Every page at a desk, the masks on a telephone, the masks in the dark."""
    with tempfile.TemporaryDirectory() as profile:
        with chromium(Path(profile) / "desk", width_px=_DESK_PX) as browser:
            addresses = pages(here)
            for name in ("overview", "versions", "data", "masks"):
                open_page(browser, addresses[name])
                save_picture(browser, out / f"review-{name}")
            if len(here.versions) > 1:
                open_page(browser, addresses["compare"])
                save_picture(browser, out / "review-compare", tallest_px=520, top="#compared")
            open_page(browser, addresses["masks"])
            look_closer(browser)
            save_picture(browser, out / "review-mask")
            wear(browser, "dark")
            open_page(browser, addresses["masks"])
            save_picture(browser, out / "review-masks-dark", tallest_px=700)
        with chromium(Path(profile) / "phone", width_px=_PHONE_PX, scale=2.0) as browser:
            open_page(browser, addresses["masks"])
            save_picture(browser, out / "review-masks-phone", tallest_px=900)


def save_picture(browser: webdriver.Chrome, path: Path, *, tallest_px: int = _TALLEST_PX, top: str = "html") -> None:
    """Write the page from the element `top` downwards, as `write_image` does."""
    # Cards out of sight are not painted until somebody scrolls there; the image reaches farther than the window.
    shown = "for (const card of document.querySelectorAll('.card')) card.style.contentVisibility = 'visible'"
    browser.execute_script(shown)
    browser.execute_script("for (const image of document.querySelectorAll('.card img')) image.loading = 'eager'")
    _wait_for_images(browser)
    wide, tall, y = browser.execute_script(
        "return [innerWidth, document.documentElement.scrollHeight,"
        " document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY]",
        top,
    )
    y = max(0, y - 24)  # some air above it
    shot = {"clip": {"x": 0, "y": y, "width": wide, "height": min(tall - y, tallest_px), "scale": 1}}
    data = browser.execute_cdp_cmd("Page.captureScreenshot", shot | {"captureBeyondViewport": True})["data"]
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    write_image(image, path)


def write_image(image: Image.Image, path: Path) -> None:
    """Write a PNG of few colours, or a JPEG where that would be larger than 150 kB, in place of an older one."""
    path.with_suffix(".jpg").unlink(missing_ok=True)
    path.with_suffix(".png").unlink(missing_ok=True)
    for colours in _COLOURS:
        file = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= _MOST_BYTES:
            path.with_suffix(".png").write_bytes(file.getvalue())
            say(f"{path.name}.png: {colours} colours, {file.tell() // 1000} kB")
            return
    for quality in range(90, 30, -5):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= _MOST_BYTES:
            path.with_suffix(".jpg").write_bytes(file.getvalue())
            say(f"{path.name}.jpg: quality {quality}, {file.tell() // 1000} kB")
            return


def check(here: Site) -> None:
    """Every page at both widths: names, contrast, order, width, console.

    Raises:
        SystemExit: something is wrong; all of it is told.
    """
    found: list[str] = []
    with tempfile.TemporaryDirectory() as profile:
        for width_px in (_DESK_PX, _PHONE_PX):
            with chromium(Path(profile) / str(width_px), width_px=width_px) as browser:
                for name, address in pages(here).items():
                    open_page(browser, address)
                    found += [f"{width_px} px: {fault}" for fault in faults(browser)]
                    say(f"{name} at {width_px} px: {len(tabbed(browser, most=400))} places of the Tab key")
                    if name == "masks":
                        look_closer(browser)
                        found += [f"{width_px} px: {fault}" for fault in faults(browser)]
                found += [
                    str(entry["message"])
                    for entry in browser.get_log("browser")
                    if "none-of-ours" not in entry["message"]
                ]
    if found:
        raise SystemExit("\n".join(found))
    say("nothing is wrong with any page")


def paint(here: Site) -> str:
    """The sentence of docs/results.md on the page of 200 masks."""
    address = f"{here.url}/review/{here.many}/masks?prompt=point"
    visits: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as profile:
        for number in range(_VISITS):  # every browser is new; the first meets a server that is new too
            with chromium(Path(profile) / str(number), width_px=_DESK_PX) as browser:
                browser.get(f"{here.url}/health")
                time.sleep(1.0)  # the browser has begun by then
                browser.set_script_timeout(120)
                browser.get(address)
                visits.append(browser.execute_async_script(_PAINT))
                say(", ".join(f"{name} {value:.0f}" for name, value in visits[-1].items() if name != "larger"))
    first, *others = visits
    middle: Callable[[str], float] = lambda name: statistics.median(visit[name] for visit in others)  # noqa: E731
    return (
        f"Chromium first paints the page of masks with {first['cards']} held-out objects after"
        f" {middle('first') / 1000:.2f} s (median of {len(others)} visits); the server needs"
        f" {middle('answered') / 1000:.2f} s of that for its answer. The very first visit to a server takes"
        f" {first['first'] / 1000:.2f} s. After {middle('all') / 1000:.2f} s, the {first['pictures']} pictures in view"
        f" are there. The server sends {first['sent']} pictures with {first['bytes'] / 1000:.0f} kB in all, none more"
        f" than {first['larger']:.1f} times as wide as it is shown."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nuclei", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parts = ("pictures", "checks", "paint")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART")
    parser.add_argument(
        "--epochs", type=int, default=10, help="of the second version's training, at most; 0: one version"
    )
    given = parser.parse_args()
    measured = commit()
    with site(given.nuclei, given.folder, epochs=given.epochs, objects=OBJECTS if "paint" in given.only else 0) as here:
        if "paint" in given.only:
            text = f"{paint(here)} `python tests/benchmarks/review.py`, on {machine()}; commit {measured}."
            say(text)
            write_result("paint", text)
        if "pictures" in given.only:
            take_pictures(here, ROOT / ".github")
        if "checks" in given.only:
            check(here)


if __name__ == "__main__":
    main()
