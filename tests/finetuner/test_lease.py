"""The lease: one holder at a time, and who lost it cannot publish. Real Valkey, short leases."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from fakes.training import Lab, kill, lab
from support.waiting import wait_until

from backend.errors import LeaseLost
from backend.work.connection import connect
from backend.work.keys import Keys
from finetuner.lease import Lease, LeasePace, release_of_dead

KEYS = Keys(7)
SHORT = LeasePace(
    expires_s=2.0, renew_s=0.1, look_s=0.02, return_s=0.5
)  # a renewal may be 1.9 s late: the machine may be busy


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Lab]:
    """An empty queue."""
    with lab(tmp_path) as played:
        yield played


def lease_of(played: Lab, holder: str) -> Lease:
    """A short lease that is not taken yet."""
    patient, quick = connect(played.url, patient=True), connect(played.url)
    return Lease(KEYS, holder=holder, patient=patient, quick=quick, pace=SHORT)


def wait_for_renewals(played: Lab, *, count: int) -> None:
    """Wait until the time that the lease has left has grown so often."""
    left_ms = [played.connection.pttl(KEYS.lease)]

    def has_grown() -> bool:
        left_ms.append(played.connection.pttl(KEYS.lease))
        return sum(later > earlier for earlier, later in itertools.pairwise(left_ms)) >= count

    wait_until(has_grown)


def test_it_is_renewed_for_as_long_as_it_is_held(played: Lab) -> None:
    """And free at once afterwards."""
    with lease_of(played, "first") as first:
        wait_for_renewals(played, count=3)
        first.check()
        assert played.connection.get(KEYS.lease) == b"1:first"
    assert played.connection.get(KEYS.lease) is None
    with lease_of(played, "second") as second:
        assert second.token == 2


def test_a_holder_that_lives_is_waited_for(played: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """However long; the log says so once."""
    caplog.set_level(logging.INFO)
    taken = Event()

    def second() -> None:
        with lease_of(played, "second"):
            taken.set()

    with lease_of(played, "first"):
        waiting = Thread(target=second)
        waiting.start()
        wait_for_renewals(played, count=3)
        assert not taken.is_set()
    assert taken.wait(120)
    waiting.join()
    assert caplog.text.count("another run is training project") == 1


def test_a_holder_that_slept_finds_itself_fenced_off(played: Lab) -> None:
    """Its machine was suspended; another has trained since. It must neither publish nor train on, nor free theirs.

    Fails where a check trusts the last renewal, and does not ask Redis.
    """
    first = lease_of(played, "first").__enter__()
    first._released.set()  # its renewing thread sleeps
    wait_until(lambda: played.connection.get(KEYS.lease) is None)
    with lease_of(played, "second") as second:
        with pytest.raises(LeaseLost, match="project 7 could not renew its lease for more than"):
            first.check()
        with pytest.raises(LeaseLost, match="publishes nothing"):
            first.check_quickly()
        first.__exit__()
        second.check()
        assert played.connection.get(KEYS.lease) == b"2:second"


def test_a_holder_hears_from_the_renewing_thread_that_it_was_replaced(played: Lab) -> None:
    """So that progress ends the training, long before it would publish."""
    with lease_of(played, "first") as first:
        played.connection.set(KEYS.lease, "2:second")
        played.until(lambda: first._lost)
        with pytest.raises(LeaseLost, match="another training has taken over"):
            first.check_quickly()


def test_a_lease_that_ran_out_while_redis_was_away_is_taken_up_again(
    played: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody took it, so nothing was lost."""
    expiring = SHORT.expires_s / SHORT.renew_s  # so many pauses between renewals that failed
    with lease_of(played, "first") as first:
        assert played.server.pid is not None
        kill(played.server.pid)
        wait_until(lambda: caplog.text.count("could not renew the lease of project 7") > expiring)
        played.server.start()
        first.check()
        assert played.connection.get(KEYS.lease) == b"1:first"


def test_after_an_outage_the_holder_comes_back_before_those_who_wait(played: Lab) -> None:
    """Fails where a lease that ran out goes to whoever asks first: both would train until the holder's next renewal."""
    patient, quick = connect(played.url, patient=True), connect(played.url)
    slow = replace(SHORT, renew_s=3600.0, return_s=60.0)
    with Lease(KEYS, holder="first", patient=patient, quick=quick, pace=slow) as first:
        played.connection.delete(KEYS.lease)  # as Redis does when it has run out
        waiting = Lease(KEYS, holder="second", patient=patient, quick=quick, pace=slow)
        assert waiting._take() == 0
        first.check()
        assert waiting._take() == 0
        assert played.connection.get(KEYS.lease) == b"1:first"
    assert waiting._take() == 2


def test_a_holder_that_does_not_come_back_is_waited_for_only_so_long(played: Lab) -> None:
    """Its machine has lost its power: nobody lets go of its lease."""
    lost = lease_of(played, "lost").__enter__()
    lost._released.set()
    with lease_of(played, "second") as second:
        assert second.token == 2
    with lease_of(played, "third") as third:
        assert third.token == 3


def test_the_lease_of_the_dead_is_freed_and_no_other(played: Lab) -> None:
    """By the worker that saw its work horse die."""
    with lease_of(played, "worker:1"):
        release_of_dead(played.connection, KEYS, holder="1")
        release_of_dead(played.connection, KEYS, holder="other")
        assert played.connection.get(KEYS.lease) == b"1:worker:1"
    with lease_of(played, "worker:1") as dead:
        dead._released.set()
        release_of_dead(played.connection, KEYS, holder="worker:1")
        assert played.connection.get(KEYS.lease) is None
