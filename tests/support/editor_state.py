"""Reads in Label Studio's editor what an annotator's gesture found, and whether the editor took it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from selenium import webdriver

_SCRIPT = Path(__file__).with_suffix(".js").read_text()


@dataclass(frozen=True)
class EditorState:
    """Label Studio's editor at one moment.

    Attributes:
        task_id: the task that it shows.
        annotation: the editor's own id of the annotation; another one after the editor began it anew.
        is_at_rest: nothing is loaded or submitted, and the image is shown.
        is_assisted: auto-annotation is switched on.
        is_awaiting: a request for masks is under way.
        is_submitted: the annotation was submitted, or is being submitted.
        tool: the name of the tool; a smart one's ends with "-dynamic".
        labels: what is chosen, as "keypointlabels: Coin".
        drawn: the ids of the regions that the smart tools drew.
        suggestions: the ids of the regions that are not accepted yet.
        answer: status and body of Label Studio's answer to the last gesture.
    """

    task_id: int
    annotation: str
    is_at_rest: bool
    is_assisted: bool
    is_awaiting: bool
    is_submitted: bool
    tool: str
    labels: tuple[str, ...]
    drawn: frozenset[str]
    suggestions: tuple[str, ...]
    answer: str

    @classmethod
    def read(cls, browser: webdriver.Chrome) -> Self | None:
        """Return the state, or None while the page shows no annotation of an image."""
        now = browser.execute_script(f"{_SCRIPT}; return state()")
        if now is None:
            return None
        now |= {"labels": tuple(now["labels"]), "suggestions": tuple(now["suggestions"])}
        return cls(**now | {"drawn": frozenset(now["drawn"])})

    def has_taken(self, since: Self) -> bool:
        """Tell whether a gesture after `since` drew a region in the same annotation."""
        return self.annotation == since.annotation and not self.drawn <= since.drawn


def watch_answer(browser: webdriver.Chrome) -> None:
    """Forget Label Studio's answer to the last gesture, and keep the next."""
    browser.execute_script(f"{_SCRIPT}; watch_answer()")


def let_events_pass(browser: webdriver.Chrome) -> None:
    """Wait until the page has handled what was done in it; the editor puts the press of a button off by 100 ms."""
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 200))")
