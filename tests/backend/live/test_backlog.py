"""What waits in a project is compared by whoever was told of it, or adopted from a process that is gone.

Through LiveEvaluation, with a fake Label Studio behind its real client: test_evaluation.py.
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.clock import HandClock

from backend.errors import NotFound, Unavailable, Upstream
from backend.live.backlog import Backlog, Tasks
from backend.live.ledger import Ledger
from backend.live.lines import Seen
from backend.live.sent import SentRegions


class Studio:
    """Tasks by id; an error in the place of a task is raised."""

    def __init__(self, tasks: dict[int, Any]) -> None:
        self.tasks = tasks
        self.asked: list[int] = []

    def task(self, task_id: int) -> Any:
        self.asked.append(task_id)
        if isinstance(task := self.tasks[task_id], Exception):
            raise task
        return task


def seen(number: int, *, process: str = "me", at_s: float = 0.0) -> Seen:
    return Seen(annotation_id=number, task_id=number, at="1", process=process, seen_s=at_s)


class Waiting:
    """A ledger with a backlog over it."""

    def __init__(self, folder: Path, studio: Tasks | None, *lines: Seen, adopt_after_s: float = 1e12) -> None:
        self.ledger, self.counts, self.studio = Ledger(folder / "annotations.jsonl"), Counter[str](), studio
        self.clock = HandClock()
        for line in lines:
            self.ledger.append(line)
        self.backlog = Backlog(
            ledger=self.ledger,
            sent=SentRegions(folder / "sent"),
            label_studio=self._known,
            max_pixels=10**6,
            process="me",
            adopt_after_s=adopt_after_s,
            counts=self.counts,
            turn=threading.Lock(),
            clock=self.clock,
        )

    def compare(self, *, is_stopping: bool = False) -> int:
        return self.backlog.compare(is_stopping=lambda: is_stopping)

    def _known(self) -> Tasks:
        if self.studio is None:
            raise Unavailable("not known")
        return self.studio


def test_an_annotation_without_our_masks_is_settled_and_counts_nothing(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, Studio({1: {"annotations": [{"id": 1, "updated_at": "1", "result": []}]}}), seen(1))
    assert waiting.compare() == 0
    assert (waiting.ledger.pending(), waiting.ledger.figures()) == ({}, {})
    assert waiting.ledger.is_counted(1)


@pytest.mark.parametrize("task", [NotFound("no task"), {}, {"annotations": [{"id": 1, "was_cancelled": True}]}])
def test_what_was_deleted_or_skipped_waits_no_longer(tmp_path: Path, task: Any) -> None:
    waiting = Waiting(tmp_path, Studio({1: task}), seen(1))
    assert waiting.compare() == 0
    assert not waiting.ledger.is_counted(1)


def test_what_another_process_was_told_of_is_left_to_it_until_it_is_late(tmp_path: Path) -> None:
    studio = Studio({1: {}})
    assert Waiting(tmp_path, studio, seen(1, process="other")).compare() == 1
    assert studio.asked == []
    assert Waiting(tmp_path, studio, adopt_after_s=1.0).compare() == 0


def test_label_studio_is_asked_no_more_after_two_failures_and_those_come_last_then(tmp_path: Path) -> None:
    studio = Studio({number: Upstream("away") for number in (1, 2)} | {3: {}, 4: {}})
    waiting = Waiting(tmp_path, studio, *(seen(number) for number in (1, 2, 3, 4)))
    with pytest.raises(Upstream):
        waiting.compare()
    assert studio.asked == [1, 2]
    assert waiting.compare() == 4, "Label Studio counts as away for a second"
    waiting.clock.advance(1)
    with pytest.raises(Upstream):
        waiting.compare()
    assert studio.asked == [1, 2, 3, 4, 1, 2]


def test_what_label_studio_does_not_show_is_asked_for_ever_more_rarely_and_holds_up_nothing(tmp_path: Path) -> None:
    studio = Studio({1: Upstream("broken")} | {number: {} for number in range(2, 99)})
    waiting = Waiting(tmp_path, studio, seen(1))
    for number in range(2, 12):
        with pytest.raises(Upstream):
            waiting.compare()
        asked = len(studio.asked)
        waiting.ledger.append(seen(number))
        assert waiting.compare() == 1
        assert studio.asked[asked:] == [number], "what arrives does not wait for the task that failed"
        pause_s = min(2.0 ** (number - 2), 60.0)
        waiting.clock.advance(pause_s - 0.1)
        assert waiting.compare() == 1
        assert len(studio.asked) == asked + 1
        waiting.clock.advance(0.2)
    studio.tasks[1] = {}
    assert waiting.compare() == 0


def test_of_many_that_failed_every_task_is_asked_for_in_its_turn(tmp_path: Path) -> None:
    studio = Studio({number: Upstream("broken") for number in range(1, 6)})
    waiting = Waiting(tmp_path, studio, *(seen(number) for number in range(1, 6)))
    for _ in range(5):
        with pytest.raises(Upstream):
            waiting.compare()
        waiting.clock.advance(60)
    assert sorted(studio.asked) == sorted([1, 2, 3, 4, 5] * 2)


def test_a_server_that_stops_leaves_the_rest_for_later(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, Studio({}), seen(1))
    assert waiting.compare(is_stopping=True) == 1
    assert list(waiting.ledger.pending()) == [1]


def test_an_unknown_label_studio_loses_nothing(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, None, seen(1))
    with pytest.raises(Unavailable):
        waiting.compare()
    assert list(waiting.ledger.pending()) == [1]
