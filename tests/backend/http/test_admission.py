"""Slow requests have threads of their own, and a bound."""

import asyncio
import threading

import pytest
from support.waiting import SOON_S

from backend.errors import Busy
from backend.http.admission import Admission


def test_an_answer_and_an_error_come_out_of_the_thread() -> None:
    admission = Admission(most=1)

    def fail() -> None:
        raise ZeroDivisionError

    async def ask() -> int:
        with pytest.raises(ZeroDivisionError):
            await admission.run(fail)
        return await admission.run(lambda: 7)

    assert asyncio.run(ask()) == 7


def test_more_than_most_are_refused_at_once_with_when_to_come_back() -> None:
    admission, inside, may_end = Admission(most=1), threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert may_end.wait(60)

    async def ask() -> None:
        first = asyncio.create_task(admission.run(wait))
        await asyncio.to_thread(inside.wait, 60)
        with pytest.raises(Busy, match="1 requests are being answered") as refused:
            await admission.run(lambda: None)
        may_end.set()
        await first
        await admission.run(lambda: None)
        assert refused.value.retry_after_s == 5

    asyncio.run(ask())


def test_no_more_run_at_once_than_there_are_threads() -> None:
    admission, running, most = Admission(most=6, threads=2), 0, 0
    lock, both = threading.Lock(), threading.Barrier(2, timeout=60)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1

    async def ask() -> None:
        await asyncio.gather(*(admission.run(work) for _ in range(6)))

    asyncio.run(ask())
    assert most == 2


def test_one_project_leaves_half_of_the_places_to_others() -> None:
    """256 slow images of one project gave all others 503."""
    admission, may_end = Admission(most=4), threading.Event()

    async def scenario() -> tuple[str, str]:
        slow = [asyncio.create_task(admission.run(lambda: may_end.wait(SOON_S), owner="1")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests of project 1 are being answered already"):
            await admission.run(lambda: "third", owner="1")
        other = await admission.run(lambda: "served", owner="2")
        may_end.set()
        await asyncio.gather(*slow)
        return other, await admission.run(lambda: "again", owner="1")

    assert asyncio.run(scenario()) == ("served", "again")
