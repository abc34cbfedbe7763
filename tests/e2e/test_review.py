"""The review pages in a real browser: from the overview to a mask, flagged by a key, and back to the model before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fakes.reviewed import Reviewed
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from support.auditing import faults
from support.browser import chromium, take_screenshot, wait_in
from support.listening import listening
from support.waiting import wait_until

from backend.registry.local import LocalRegistry
from backend.review.flags import Flags
from backend.review.masks.suspicion import Doubt
from backend.server.app import create_app
from backend.work.connection import connect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def here(made: Reviewed, redis_url: str) -> Iterator[str]:
    """The pages' address, on a real socket."""
    with connect(redis_url) as connection:
        server = uvicorn.Server(uvicorn.Config(create_app(made.settings, connection=connection), log_level="warning"))
        server.config.timeout_graceful_shutdown = 1  # an overview holds its line open for ever
        with listening(server) as running:
            yield f"{running.url}/review/{made.project_id}"


@pytest.mark.parametrize("width_px", [1280, 390])
def test_an_analyst_finds_what_got_tighter_flags_it_by_a_key_and_rolls_back(
    here: str, made: Reviewed, tmp_path: Path, width_px: int
) -> None:
    registry, (_, version) = LocalRegistry(made.settings.registry.model_dir), made.versions
    registry.promote(made.project_id, version, reason="as the test wants it")
    with chromium(tmp_path / "profile", width_px=width_px) as browser:
        wait = wait_in(browser)
        browser.get(here)
        wait.until(lambda it: it.find_element(By.CSS_SELECTOR, "[data-live=served]").text == version)  # by its events
        _is_for_everybody(browser)
        browser.find_element(By.LINK_TEXT, "Versions").click()
        wait.until(lambda it: it.title.startswith("Versions"))
        _is_for_everybody(browser)
        browser.find_element(By.LINK_TEXT, "Masks").click()
        wait.until(lambda it: it.title.startswith("Masks"))
        Select(browser.find_element(By.NAME, "sort")).select_by_visible_text("most worsened")
        wait.until(lambda it: "sort=worsened" in it.current_url)
        Select(browser.find_element(By.NAME, "sort")).select_by_visible_text("most tightened")
        wait.until(lambda it: "sort=tightened" in it.current_url)
        _is_for_everybody(browser)
        wait.until(lambda it: it.execute_script("return document.querySelector('.card img').naturalWidth > 0"))

        browser.find_element(By.TAG_NAME, "body").send_keys("j")
        card = browser.switch_to.active_element.find_element(By.XPATH, "ancestor::li")
        assert "card" in card.get_attribute("class"), "j goes to the first mask"
        browser.switch_to.active_element.send_keys("4")
        pressed = card.find_element(By.CSS_SELECTOR, "[data-verdict=wrong]")
        wait.until(lambda _: pressed.get_attribute("aria-pressed") == "true")
        assert "1 wrong" in browser.find_element(By.ID, "counts").text
        key = str(card.get_attribute("id")).removeprefix("m-")
        assert [
            (flag.key, flag.verdict)
            for flag in Flags(LocalRegistry(made.settings.registry.model_dir).state_dir).current(made.project_id)
        ] == [(key, "wrong")]
        browser.switch_to.active_element.send_keys("4")
        wait.until(lambda _: pressed.get_attribute("aria-pressed") == "false")
        assert Flags(LocalRegistry(made.settings.registry.model_dir).state_dir).current(made.project_id) == ()

        browser.switch_to.active_element.send_keys(Keys.ENTER)
        wait.until(lambda it: key in it.current_url and it.find_elements(By.ID, "wipe"))
        browser.find_element(By.ID, "wipe").send_keys(Keys.RIGHT)
        assert browser.execute_script("return document.documentElement.style.getPropertyValue('--wipe')") == "51%"
        _is_for_everybody(browser)
        _roll_back(browser, wait, made)
        browser.get(f"{here}/data")
        _is_for_everybody(browser)
        errors = [line["message"] for line in browser.get_log("browser")]
    assert errors == []
    champion = registry.champion(made.project_id)
    assert champion is not None
    assert champion.version is None
    assert champion.reason.startswith("too loose at the rim")


@pytest.mark.parametrize("width_px", [1280, 390])
def test_a_wrong_label_is_shown_with_the_label_that_its_object_looks_like(
    here: str, tmp_path: Path, width_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Doubt(prompt="box", by=0.85, looks_like="Brick wall, weathered")
    monkeypatch.setattr("backend.review.pages.doubt_annotation", lambda _: doubt)
    with chromium(tmp_path / "profile", width_px=width_px) as browser:
        browser.get(f"{here}/data")
        card = browser.find_element(By.XPATH, "//*[contains(text(), 'looks like')]/ancestor::li")
        assert "looks like Brick wall, weathered, more probable by 85 percentage points" in card.text
        _is_for_everybody(browser)
        browser.execute_script("arguments[0].scrollIntoView()", card)
        take_screenshot(browser, f"looks-like-{width_px}")


def test_a_mask_is_zoomed_at_its_worst_edge_by_wheel_and_keys_and_moved_by_dragging(
    here: str, made: Reviewed, tmp_path: Path
) -> None:
    with chromium(tmp_path / "profile", width_px=1280) as browser:
        wait = wait_in(browser)
        browser.get(f"{here}/masks?version={made.versions[1]}")
        browser.find_element(By.CSS_SELECTOR, ".cards .look").click()
        frame = wait.until(lambda it: it.find_element(By.CSS_SELECTOR, "#whole .pan"))
        across, _ = map(float, str(frame.get_attribute("data-worst")).split())
        browser.find_element(By.TAG_NAME, "body").send_keys("++")
        seen = (
            "const at = arguments[0]; return [(at.scrollLeft + at.clientWidth / 2) / at.firstElementChild.clientWidth,"
        )
        seen += " +getComputedStyle(at).getPropertyValue('--zoom'), at.scrollLeft]"
        middle, zoom, _ = browser.execute_script(seen, frame)
        assert zoom == 4
        assert middle == pytest.approx(min(max(across, 0.125), 0.875), abs=0.02), (
            "the worst edge, as far as the frame goes"
        )
        browser.find_element(By.TAG_NAME, "body").send_keys("0")
        assert browser.execute_script(seen, frame)[1] == 1
        browser.execute_script("arguments[0].scrollIntoView()", frame)
        ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(frame), 0, -400).perform()
        wait.until(lambda it: it.execute_script(seen, frame)[1] > 2)
        before = browser.execute_script(seen, frame)[2]
        ActionChains(browser).move_to_element(frame).click_and_hold().move_by_offset(-60, 0).release().perform()
        wait.until(lambda it: abs(it.execute_script(seen, frame)[2] - before - 60) < 2)
        assert [line["message"] for line in browser.get_log("browser")] == []


def test_chosen_masks_are_flagged_together(here: str, made: Reviewed, tmp_path: Path) -> None:
    flags = Flags(LocalRegistry(made.settings.registry.model_dir).state_dir)
    with chromium(tmp_path / "profile", width_px=390) as browser:
        wait = wait_in(browser)
        browser.get(f"{here}/masks?version={made.versions[1]}")
        assert not browser.find_element(By.ID, "several").is_displayed()
        browser.find_element(By.TAG_NAME, "body").send_keys("jx")
        assert browser.find_element(By.ID, "how-many").text == "1 chosen"
        _is_for_everybody(browser)
        browser.find_element(By.ID, "choose-all").click()
        browser.find_element(By.CSS_SELECTOR, "#several [value='too tight']").click()
        wait.until(lambda it: "6 too tight" in it.find_element(By.ID, "counts").text)
    assert [flag.verdict for flag in flags.current(made.project_id)] == ["too tight"] * 6


def _roll_back(browser: webdriver.Chrome, wait: WebDriverWait, made: Reviewed) -> None:
    browser.find_element(By.LINK_TEXT, "Versions").click()
    wait.until(lambda it: it.title.startswith("Versions"))
    back = browser.find_element(By.CSS_SELECTOR, 'a[href$="decide?version=base"]')
    browser.execute_script("arguments[0].scrollIntoView({inline: 'center', block: 'center'})", back)
    back.click()
    wait.until(lambda it: it.title.startswith("Roll back"))
    browser.find_element(By.ID, "reason").send_keys("too loose at the rim")
    browser.find_element(By.CSS_SELECTOR, "button.primary").click()
    wait.until(lambda it: it.title.startswith("Versions"))
    assert "too loose at the rim" in browser.find_element(By.CSS_SELECTOR, ".decisions").text
    browser.find_element(By.LINK_TEXT, "Overview").click()
    wait.until(lambda it: it.find_element(By.CSS_SELECTOR, "[data-live=served]").text == made.base)


def _is_for_everybody(browser: webdriver.Chrome) -> None:
    """Nothing but tables is wider than the screen, all is named and readable: once the page is laid out."""
    wait_until(lambda: not faults(browser), every_s=0.2, explain=lambda: faults(browser))
