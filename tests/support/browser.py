"""Starts a real browser: headless Chromium with its own profile and a recorded console."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.support.ui import WebDriverWait
from support.waiting import SOON_S

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextlib.contextmanager
def open_chromium(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """Open a browser without background requests; `flags` follow the usual flags."""
    options = webdriver.ChromeOptions()
    for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


@contextlib.contextmanager
def chromium(profile: Path, *, width_px: int, scale: float = 1.0) -> Iterator[webdriver.Chrome]:
    """Open a browser with a screen 900 px high; with a width below 500 px it emulates a phone."""
    screen = {"width": width_px, "height": 900, "deviceScaleFactor": scale, "mobile": width_px < 500}
    with open_chromium(profile) as browser:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        yield browser


def wait_in(
    browser: webdriver.Chrome, *, seconds: float = SOON_S, every_s: float = 0.1
) -> WebDriverWait[webdriver.Chrome]:
    """Wait for what a page shows. An element that is gone because the page was drawn anew is looked for again."""
    return WebDriverWait(browser, seconds, poll_frequency=every_s, ignored_exceptions=[StaleElementReferenceException])


def take_screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Save a screenshot for people to look at, in the folder SAMLOOP_SCREENSHOTS, if that is set."""
    if folder := os.environ.get("SAMLOOP_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))
