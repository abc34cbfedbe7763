"""A real browser of a given width, its console kept."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver


@contextlib.contextmanager
def chromium(profile: Path, *, width_px: int, scale: float = 1.0) -> Iterator[webdriver.Chrome]:
    """Chromium with a profile of its own, its window 900 px high; below 500 px it is a telephone."""
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    screen = {"width": width_px, "height": 900, "deviceScaleFactor": scale, "mobile": width_px < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield browser
    finally:
        browser.quit()
