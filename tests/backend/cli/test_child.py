"""A child that cannot begin ends `samloop up` with its reason; a child that has worked is started again for ever."""

import os

import pytest
from support.waiting import wait_until

from backend.cli.child import Child
from backend.errors import Unavailable


def make_child(*command: str, **environ: str) -> Child:
    """A child on a clock that goes on a minute a look, so that nothing waits for a pause."""
    looks = iter(range(0, 10**6, 40))
    return Child("worker", list(command), os.environ | environ, now_s=lambda: float(next(looks)))


def look_until_it_ended(child: Child) -> None:
    child.keep_running()
    assert child.process is not None
    child.process.wait(120)


def test_three_failed_starts_end_with_the_childs_own_reason(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    child = make_child("settings", SAMLOOP_TRAIN_SECONDS="many")
    child.command = ["serve"]
    for _ in range(3):
        look_until_it_ended(child)
    with pytest.raises(
        Unavailable, match=r"the worker failed at its start 3 times, with status 1: .*SAMLOOP_TRAIN_SEC"
    ):
        child.keep_running()


def test_a_child_that_was_killed_or_has_worked_is_started_again_however_often() -> None:
    killed, worked = make_child("worker"), make_child("serve", SAMLOOP_TRAIN_SECONDS="many")
    worked.has_begun = True
    for _ in range(4):
        killed.keep_running()
        assert killed.process is not None
        killed.process.kill()
        killed.process.wait(120)
        look_until_it_ended(worked)
    assert not killed._failed
    assert not worked._failed


def test_what_a_child_says_is_passed_on_and_its_last_lines_are_remembered() -> None:
    child = make_child("--version")
    look_until_it_ended(child)
    wait_until(lambda: "samloop" in child._reason())
