"""A store that is slow, refuses us or forgets its promises is told in a sentence with the next step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fsspec.exceptions import FSTimeoutError
from support.other_stores import OTHER_STORES

from backend.errors import SettingsError, Unavailable
from backend.registry.objects.store import ObjectStore


@pytest.fixture
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return ObjectStore(f"memory://{request.node.name}", pause=lambda _: None)


def fail(store: ObjectStore, faults: list[Exception], *, then: Callable[..., Any] | None = None) -> list[str]:
    """Let the next calls fail; returns the list of methods that are called."""
    calls: list[str] = []
    send = then or store._send

    def answer(method: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(method)
        if faults:
            raise faults.pop(0)
        return send(method, *args, **kwargs)

    store._send = answer  # type: ignore[method-assign]
    return calls


def test_objects_are_written_read_listed_and_deleted(store: ObjectStore) -> None:
    store.write("a/b/one", b"1")
    store.write("a/two", b"2")
    assert store.read("a/b/one") == b"1"
    assert store.read("a/three") is None
    assert set(store.list_names("a")) == {"b", "two"}
    assert set(store.list_objects("a")) == {"b/one", "two"}
    assert store.list_names("nowhere") == ()
    store.delete(["a/b/one", "a/never-was"])
    assert set(store.list_objects("a")) == {"two"}


@pytest.mark.parametrize("kind", ["s3_url", *OTHER_STORES])
def test_of_many_who_create_an_object_one_wins(kind: str, request: pytest.FixtureRequest) -> None:
    store = ObjectStore(f"{request.getfixturevalue(kind)}/race")
    store.check_conditional()
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda who: store.create("one", b"%d" % who), range(8)))
    assert sum(won) == 1
    assert store.read("one") == b"%d" % won.index(True)


def test_an_answer_that_was_lost_is_found_again(store: ObjectStore) -> None:
    """The object was written, and the connection broke before we heard of it."""
    store.check_conditional()
    store.write("one", b"ours")
    fail(store, [ConnectionError("reset by peer")])
    assert store.create("one", b"ours")
    fail(store, [ConnectionError("reset by peer")])
    assert not store.create("one", b"theirs")


def test_a_store_that_overwrites_is_refused_with_the_next_step(store: ObjectStore) -> None:
    """As an S3 of somebody's own that has never heard of If-None-Match.

    Fails without the probe: of two trainings that take a number, both would win.
    """
    send = store._send

    def forget_mode(method: str, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("mode", None)
        return send(method, *args, **kwargs)

    fail(store, [], then=forget_mode)
    with pytest.raises(SettingsError, match=r"this store overwrites what a conditional write must leave.*use S3,"):
        store.create("one", b"1")
    assert store.list_objects("") == {}


def test_a_fault_that_passes_is_tried_again_and_one_that_stays_is_told(store: ObjectStore) -> None:
    store.write("one", b"1")
    calls = fail(store, [ConnectionError("reset"), OSError(16, "slow down")])
    assert store.read("one") == b"1"
    assert len(calls) == 3
    fail(store, [ConnectionError("reset")] * 3)
    with pytest.raises(
        Unavailable, match=r"memory://.* cannot be reached: ConnectionError: reset; the served version stays"
    ):
        store.read("one")


def test_a_store_that_refuses_us_is_asked_once(store: ObjectStore) -> None:
    calls = fail(store, [PermissionError("AccessDenied")])
    with pytest.raises(Unavailable, match=r"it refuses us \(AccessDenied\).*the store's credentials"):
        store.read("one")
    assert len(calls) == 1


def test_after_a_call_that_ran_out_of_time_nobody_else_waits_as_long(store: ObjectStore) -> None:
    calls = fail(store, [FSTimeoutError()])
    for why in ("it did not answer in time", "it did not answer a moment ago"):
        with pytest.raises(Unavailable, match=why):
            store.read("one")
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["s3_url", *OTHER_STORES])
def test_a_bucket_that_does_not_exist_is_not_an_empty_one(kind: str, request: pytest.FixtureRequest) -> None:
    protocol = str(request.getfixturevalue(kind)).partition("://")[0]
    store = ObjectStore(f"{protocol}://no-such-bucket/models")
    for ask in (lambda: store.list_names("refs"), lambda: store.create("one", b"1")):
        with pytest.raises(Unavailable, match=r"in a bucket that does not exist.*correct MODEL_DIR"):
            ask()


def test_azures_word_for_a_container_that_does_not_exist_is_understood(store: ObjectStore) -> None:
    """As adlfs passes it on; Azurite is asked by the test above, where `make stores` has installed it."""

    class ResourceNotFoundError(Exception):
        pass

    calls = fail(store, [ResourceNotFoundError("The specified container does not exist.")])
    with pytest.raises(Unavailable, match=r"in a bucket that does not exist.*correct MODEL_DIR"):
        store.write("one", b"1")
    assert len(calls) == 1, "it is not tried again"


def test_a_bug_is_not_taken_for_a_store_that_is_away(store: ObjectStore) -> None:
    fail(store, [TypeError("ours")])
    with pytest.raises(TypeError):
        store.read("one")


def test_no_secret_of_the_store_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k3y")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "c4n4ry")
    store = ObjectStore("s3://bucket/models", pause=lambda _: None)
    with pytest.raises(Unavailable, match="cannot be reached") as fault:
        store.list_names("refs")
    assert "c4n4ry" not in str(fault.value)
    assert "k3y" not in str(fault.value)
