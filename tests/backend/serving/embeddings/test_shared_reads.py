"""An image is read once, however many ask for it at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.waiting import wait_until

from backend.errors import Upstream
from backend.serving.embeddings.shared_reads import ImageBytes, SharedReads

SOON_S = 120.0
IMAGE = ImageBytes(sha256="ab", data=b"pixels")


class SlowHost:
    """Answers once it is let; counts its requests."""

    def __init__(self) -> None:
        self.requests, self.asked, self.may_answer = 0, threading.Event(), threading.Event()

    def read(self) -> ImageBytes:
        self.requests += 1
        self.asked.set()
        assert self.may_answer.wait(SOON_S)
        return IMAGE


def read_at(reads: SharedReads, place: str, read: Callable[[], ImageBytes]) -> ImageBytes:
    with reads.reading(place, read) as image:
        return image


def test_whoever_asks_while_an_image_is_read_joins_that_read() -> None:
    reads, host = SharedReads(), SlowHost()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(read_at, reads, "place", host.read)
        assert host.asked.wait(SOON_S)
        others = [pool.submit(read_at, reads, "place", lambda: pytest.fail("read twice")) for _ in range(2)]
        wait_until(lambda: reads.joined == 2)
        host.may_answer.set()
        assert [read.result(SOON_S) for read in (first, *others)] == [IMAGE] * 3
    assert host.requests == 1


def test_whoever_asks_while_the_bytes_are_used_gets_the_same_bytes() -> None:
    reads = SharedReads()
    with reads.reading("place", lambda: IMAGE):
        assert read_at(reads, "place", lambda: pytest.fail("read twice")) is IMAGE


def test_a_read_that_ended_is_not_kept() -> None:
    reads, host = SharedReads(), SlowHost()
    host.may_answer.set()
    for _ in range(2):
        assert read_at(reads, "place", host.read) is IMAGE
    assert host.requests == 2


def test_images_at_two_places_are_read_side_by_side() -> None:
    reads, both = SharedReads(), threading.Barrier(2, timeout=SOON_S)

    def read() -> ImageBytes:
        both.wait()  # breaks, if one waits for the other
        return IMAGE

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda place: read_at(reads, place, read), ("a", "b"))) == [IMAGE, IMAGE]


def test_a_failure_reaches_all_who_wait_and_the_next_call_reads_again() -> None:
    reads, may_fail = SharedReads(), threading.Event()

    def fail() -> ImageBytes:
        assert may_fail.wait(SOON_S)
        raise Upstream("the host cannot be reached")

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(read_at, reads, "place", fail) for _ in range(2)]
        wait_until(lambda: reads.joined == 1)
        may_fail.set()
        for read in waiting:
            with pytest.raises(Upstream, match="cannot be reached"):
                read.result(SOON_S)
    assert read_at(reads, "place", lambda: IMAGE) is IMAGE
