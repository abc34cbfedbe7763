"""Checks a page's accessibility in the browser that shows it: names, contrast, order, width.

Chromium itself tells each control's name, as it tells screen readers. Contrast is WCAG 2's, of every text against what
lies behind it, in light and dark, for 4.5 at least, whatever the size.
"""

import itertools
import json
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

LEAST_CONTRAST = 4.5
_NAMED = {
    "button",
    "checkbox",
    "combobox",
    "image",
    "link",
    "listbox",
    "meter",
    "progressbar",
    "radio",
    "region",
    "slider",
    "spinbutton",
    "textbox",
}
_SCRIPT = Path(__file__).with_suffix(".js").read_text()
_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def faults(browser: webdriver.Chrome) -> list[str]:
    """List the faults of the page that the browser shows, as sentences."""
    found = [f"{wide} px wider than the screen"] if (wide := int(browser.execute_script(_WIDE))) > 0 else []
    found += [f"a {control} without a name" for control in _nameless(browser)]
    found += browser.execute_script(f"{_SCRIPT}; return disordered()")
    for scheme in ("dark", "light"):
        wear(browser, scheme)
        pale: dict[str, float] = browser.execute_script(f"{_SCRIPT}; return pale(arguments[0])", LEAST_CONTRAST)
        found += [f"{what}: contrast {contrast:.2f} in {scheme}" for what, contrast in pale.items()]
    if not browser.execute_script("return document.documentElement.lang && document.title"):
        found.append("no language or no title")
    headings = [int(heading.tag_name[1]) for heading in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    if headings.count(1) != 1 or any(after > before + 1 for before, after in itertools.pairwise(headings)):
        found.append(f"headings of the levels {headings}")
    return [f"{browser.title}: {fault}" for fault in found]


def wear(browser: webdriver.Chrome, scheme: str) -> None:
    """Set the colour scheme of the following pages, "light" or "dark"."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def tabbed(browser: webdriver.Chrome, *, most: int) -> list[str]:
    """The opening tags of the elements that the Tab key reaches from the page's top, up to `most`."""
    browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    found: list[str] = []
    for _ in range(most):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        at = str(browser.execute_script("const at = document.activeElement; return at.cloneNode().outerHTML"))
        if at.startswith("<body"):
            break
        found.append(at)
    return found


def _nameless(browser: webdriver.Chrome) -> list[str]:
    nodes: list[dict[str, Any]] = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        f"{node['role']['value']} {json.dumps(node.get('properties', []))[:80]}"
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in _NAMED and not node.get("name", {}).get("value")
    ]
