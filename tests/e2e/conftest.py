"""A real browser for the tests that look at pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from support.browser import open_chromium


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A window that Label Studio's editor fits into."""
    with open_chromium(tmp_path / "profile", "--window-size=1500,1300") as browser:
        yield browser
