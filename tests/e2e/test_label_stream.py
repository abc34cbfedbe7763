"""Label Studio's stream of a tab in a real browser: what "Label Tasks As Displayed" brings of the tabs that we make."""

import pytest
from fakes.studio_setup import StudioSetup
from selenium import webdriver
from selenium.webdriver.common.by import By
from support.editor import Editor

from backend.cli.demo.label_studio import LabelStudioProcess
from backend.cli.order.command import NEXT_TAB
from backend.cli.project import SCORES_TAB, UNTOUCHED
from backend.labelstudio.api.filters import filter_untouched
from backend.review.tasks import send_to_labelling

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]
CONFIG = '<View><Text name="text" value="$text"/><Choices name="is" toName="text"><Choice value="it"/></Choices></View>'
SCORES = (0.9, 0.2, 0.7, 0.4, 0.8)


def test_the_stream_goes_in_the_tabs_order_and_passes_over_what_is_annotated(
    browser: webdriver.Chrome, label_studio: LabelStudioProcess
) -> None:
    client = StudioSetup(label_studio.url, label_studio.token)
    project = int(client.create_project("stream", CONFIG)["id"])
    client.import_tasks(project, [{"data": {"text": f"task {number}"}} for number in range(len(SCORES))])
    ids = sorted(int(task["id"]) for task in client.tasks(project))
    for task_id, score in zip(ids, SCORES, strict=True):
        client.create_prediction(task_id, result=[], score=score, model_version="v1")
    client.update_project(project, model_version="v1", sampling="Uncertainty sampling")
    client.create_annotation(ids[2], [])
    by_score = client.tabs.save(project, SCORES_TAB, ordering=["tasks:predictions_score"], filters=UNTOUCHED)
    chosen = [filter_untouched(ids[at]) for at in (3, 0, 2)]
    ours = client.tabs.save(project, NEXT_TAB, ordering=["tasks:id"], filters=chosen, conjunction="or")
    again = send_to_labelling(client, project, [str(ids[4]), str(ids[2])]).partition("tab=")[2]
    stream = Stream(Editor(browser, label_studio), project)
    stream.editor.log_in()

    assert stream.brings(by_score, most=2) == [ids[1], ids[3]], "the lowest scores first"
    assert stream.brings(ours, most=2) == [ids[0], ids[3]], "those of `samloop order`, although others score lower"
    # So the review page tells to open tasks that are to be labelled again from the list.
    assert stream.brings(int(again), most=1) == [ids[4]], "the first of that tab is annotated already"


class Stream:
    """A tab, and its "Label Tasks As Displayed"."""

    def __init__(self, editor: Editor, project: int) -> None:
        self.editor, self.project = editor, project

    def brings(self, tab: int, *, most: int) -> list[int]:
        """The ids of its first tasks; all but the last are skipped on the way."""
        found: list[int] = []
        self.editor.browser.get(f"{self.editor.label_studio.url}/projects/{self.project}/data?tab={tab}")
        item = "//*[normalize-space(text())='Label Tasks As Displayed']"
        toggle = "(//*[@aria-label='Toggle open'])[last()]"
        self.editor.click_until(toggle, lambda it: it.find_elements(By.XPATH, item))
        self.editor.click_until(item, lambda it: not it.find_elements(By.XPATH, item))
        while len(found) < most:
            found.append(int(self.editor.wait.until(lambda it, known=tuple(found): _task(it, but=known))))
            if len(found) < most:
                self.editor.press("bottombar-skip-button")
        return found


def _task(browser: webdriver.Chrome, *, but: tuple[int, ...]) -> int | None:
    at = browser.execute_script("return window.Htx && window.Htx.task && window.Htx.task.id")
    return int(at) if at and int(at) not in but else None
