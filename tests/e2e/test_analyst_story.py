"""The analyst's story in a real Label Studio, with real workers and a real browser: pre-annotation to roll back."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from support.editor import Editor
from support.waiting import wait_for_model, wait_until

from backend.cli.demo.label_studio import LabelStudioProcess, free_port
from backend.cli.demo.photographs import COIN, PHOTOGRAPHS, sample_photographs
from backend.cli.demo.project import SampleTask, ask_for_mask, create_project
from backend.cli.project import SCORES_TAB, show_analysts
from backend.files.children import end
from backend.labelstudio.api.client import LabelStudio

pytestmark = [pytest.mark.label_studio, pytest.mark.browser, pytest.mark.weights]
BASE = "mobile-sam"
CORRECTED, WAITING = 2, 2


class Story(NamedTuple):
    """A project whose backend and workers are a real `samloop up`."""

    client: LabelStudio
    url: str
    project_id: int
    backend_id: int
    log: Path
    tasks: tuple[SampleTask, ...]

    def status(self) -> dict[str, Any]:
        return requests.get(f"{self.url}/projects/{self.project_id}/status", timeout=30).json()

    def wait(self, condition: Callable[[dict[str, Any]], bool], *, what: str, seconds: float = 500.0) -> dict[str, Any]:
        def met() -> dict[str, Any] | None:
            status = self.status()
            assert not status["error"], status["error"]
            assert not status["refresh"]["error"], status["refresh"]["error"]
            return status if condition(status) else None

        return wait_until(met, seconds=seconds, every_s=0.3, explain=lambda: f"no {what}: {self.status()}")

    def refreshed(self, version: str) -> None:
        """Wait until Label Studio has masks of this version on the tasks that nobody touched."""
        self.wait(
            lambda now: now["refresh"]["phase"] == "idle" and (now["refresh"]["last"] or {}).get("version") == version,
            what=f"refresh with {version}",
        )

    def versions_of(self, task: SampleTask) -> set[str]:
        return {prediction["model_version"] for prediction in self.client.predictions(task_id=task.task_id)}


# Of one label: where there are several, a model without a semantic head pre-annotates nothing.
COINS = replace(PHOTOGRAPHS, label_colours={COIN: PHOTOGRAPHS.label_colours[COIN]})


@pytest.fixture(scope="module")
def story(label_studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """`samloop up` with real weights, and a project of four photographs."""
    folder, port = tmp_path_factory.mktemp("samloop"), free_port()
    url = f"http://127.0.0.1:{port}"
    environ = os.environ | {
        "MODEL_DIR": str(folder / "models"),
        "SAMLOOP_QUEUE_DIR": str(folder / "queue"),
        "SAMLOOP_BACKEND_URL": url,
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "SAMLOOP_AUTOMATIC": "1",
        "SAMLOOP_AUTOMATIC_POINTS": "4",
        "SAMLOOP_AUTOMATIC_REGIONS": "8",
        "SAMLOOP_PREWARM": "0",
        "SAMLOOP_EPOCHS": "2",
        "SAMLOOP_TRAIN_SECONDS": "20",
    }
    environ.pop("REDIS_URL", None)
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-P", "-m", "backend", "up", "--port", str(port)],
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            client = LabelStudio(label_studio.url, label_studio.token)
            project_id, tasks = create_project(client, COINS, images=sample_photographs()[: CORRECTED + WAITING])
            wait_for_model(url, process=up, log=folder / "up.log")
            backend_id = client.backends.connect(project_id, url=url, title="samloop")
            show_analysts(client, project_id, review_url=f"{url}/review/{project_id}")
            yield Story(client, url, project_id, backend_id, folder / "up.log", tasks)
        finally:
            end(up, grace_s=40)


def test_from_pre_annotation_to_roll_back(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess, story: Story
) -> None:
    editor = Editor(browser, label_studio, backend_log=story.log)

    # Every task is pre-annotated with the base model.
    requests.post(f"{story.url}/projects/{story.project_id}/refresh", timeout=120).raise_for_status()
    story.refreshed(BASE)
    assert all(story.versions_of(task) == {BASE} for task in story.tasks)

    # An annotator corrects two: what stands there gets one more mask, by a box.
    editor.log_in()
    for task in story.tasks[:CORRECTED]:
        coin = task.image.objects[0]
        editor.open(story.project_id, task.task_id)
        if task is story.tasks[0]:  # the editor remembers it
            editor.switch_on_auto_annotation()
        editor.take_smart_tool("rectangle-tool", label=coin.label)
        editor.drag_around(coin)
        editor.accept()
        editor.submit()
        _await_annotation(story, task)
    live = story.wait(lambda now: now["live"].get(BASE, {}).get("annotations") == CORRECTED, what="live evaluation")[
        "live"
    ][BASE]
    assert live["n"] >= CORRECTED
    assert live["untouched"] > 0.5, "most masks were left as they were given"

    # Train; whatever the gate says of two photographs, the analyst promotes on the review page where it did not.
    story.client.backends.start_training(story.backend_id)
    verdict = story.wait(lambda now: bool(now["verdict"]) and now["phase"] == "idle", what="verdict")["verdict"]
    version = str(verdict["version"])
    if not verdict["promoted"]:
        _decide(editor, story, version, reason="the story goes on with it")
    story.wait(lambda now: now["served"]["version"] == version, what=f"{version} served")

    # The refresh follows by itself, and the analyst sees the new version in Label Studio.
    story.refreshed(version)
    for task in story.tasks[CORRECTED:]:
        assert version in story.versions_of(task)
    for task in story.tasks[:CORRECTED]:
        assert version not in story.versions_of(task), "what people have touched stays as it is"
    tab = next(tab for tab in story.client.tabs.all(story.project_id) if tab["data"]["title"] == SCORES_TAB)
    browser.get(f"{label_studio.url}/projects/{story.project_id}/data?tab={tab['id']}")
    editor.wait.until(lambda page: version in page.find_element(By.TAG_NAME, "body").text)
    editor.screenshot("story-tab")

    # Masks, most tightened first; one is flagged.
    page = f"{story.url}/review/{story.project_id}"
    assert page in story.client.project(story.project_id)["description"]
    browser.get(page)
    assert version.removeprefix(f"{BASE}-") in editor.find("[data-live=served]").text or version in browser.page_source
    editor.screenshot("story-overview")
    browser.get(f"{page}/masks?version={version}&sort=tightened")
    gains = [float(element.text.replace("−", "-")) for element in browser.find_elements(By.CSS_SELECTOR, ".gain")]  # noqa: RUF001 - the page's minus
    assert gains
    assert gains == sorted(gains, reverse=True)
    editor.find('.card button[data-verdict="too loose"]').click()
    editor.wait.until(lambda _: editor.find('[data-count="too loose"]').text == "1")
    editor.screenshot("story-flagged")

    # Roll back: the old version is served, also to a click.
    _decide(editor, story, "base", reason="one mask is too loose")
    story.wait(lambda now: now["served"]["version"] == BASE, what="roll back")
    assert ask_for_mask(story.client, story.backend_id, story.tasks[-1]).version == BASE
    browser.get(f"{page}/versions")
    # Beside two busy loops, Chromium showed an empty page at first.
    editor.wait.until(lambda _: "one mask is too loose" in browser.page_source)


def _decide(editor: Editor, story: Story, version: str, *, reason: str) -> None:
    """On the review page: the question, a reason, and the button."""
    editor.browser.get(f"{story.url}/review/{story.project_id}/decide?version={version}")
    editor.find("#reason").send_keys(reason)
    editor.find("form.decide button.primary").click()
    editor.wait.until(lambda browser: browser.current_url.endswith("/versions"))


def _await_annotation(story: Story, task: SampleTask) -> None:
    wait_until(
        lambda: story.client.task(task.task_id)["annotations"], every_s=0.3, explain=lambda: "nothing was submitted"
    )
