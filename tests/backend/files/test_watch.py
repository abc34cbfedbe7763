"""A watch looks again, whatever looking did."""

import logging
from threading import Event, Thread, current_thread

import pytest
from support.waiting import SOON_S, wait_until

from backend.errors import Unavailable
from backend.files.watch import Watch


def test_it_looks_until_it_is_stopped() -> None:
    """And not once more."""
    looks: list[Thread] = []
    with Watch(lambda: looks.append(current_thread()), poll_s=0.005):
        wait_until(lambda: len(looks) >= 3)
    assert not looks[0].is_alive()


def test_it_survives_what_looking_raises_and_tells_each_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that cannot be reached for ten minutes is one line in the log, not six hundred."""
    caplog.set_level(logging.INFO)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) <= 5:
            raise OSError("the disk cannot be reached" if len(looks) < 5 else "something else")

    with Watch(look, poll_s=0.001):
        wait_until(lambda: len(looks) >= 8)
    assert [record.message for record in caplog.records] == [
        "a look failed: the disk cannot be reached",
        "a look failed: something else",
        "the watch works again",
    ]


@pytest.mark.parametrize(
    ("fault", "is_bug"), [(Unavailable("its disk cannot be reached"), False), (KeyError("x"), True)]
)
def test_a_fault_of_ours_is_one_sentence_and_a_bug_has_its_traceback(
    fault: Exception, is_bug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def look() -> None:
        raise fault

    with Watch(look, poll_s=60.0):
        wait_until(lambda: bool(caplog.records))
    assert [bool(record.exc_info) for record in caplog.records] == [is_bug]


def test_stopping_waits_for_the_look_under_way() -> None:
    """So that what it uses can be closed afterwards; stopping twice, or before the start, is harmless."""
    started, may_end = Event(), Event()

    def look() -> None:
        started.set()
        may_end.wait(SOON_S)

    watch = Watch(look, poll_s=60.0).start()
    started.wait(SOON_S)
    stopping = Thread(target=watch.stop, kwargs={"timeout_s": SOON_S})
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive()
    may_end.set()
    stopping.join(SOON_S)
    assert not stopping.is_alive()
    watch.stop()
    Watch(look, poll_s=1.0).stop()
