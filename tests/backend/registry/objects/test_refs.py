"""Numbered objects are taken once, whoever asks, and read once."""

from pathlib import Path

import pytest
from support.waiting import wait_until

from backend.errors import BadCheckpoint
from backend.registry.objects.last_seen import SeenRefs
from backend.registry.objects.refs import ObjectRefs
from backend.registry.objects.store import ObjectStore

PLACE = "7/champion"


@pytest.fixture
def refs(tmp_path: Path) -> ObjectRefs:
    return ObjectRefs(ObjectStore(f"memory://{tmp_path.name}"), SeenRefs(tmp_path / "seen"))


def test_a_number_is_taken_once_even_for_the_same_content(refs: ObjectRefs) -> None:
    assert refs.take(PLACE, 1, {"version": "a"})
    assert not refs.take(PLACE, 1, {"version": "a"})
    content = refs.read(PLACE, 1) or {}
    assert content["version"] == "a"
    assert refs.read(PLACE, 2) is None


def test_numbers_ascend_and_other_objects_do_not_count(refs: ObjectRefs) -> None:
    for number in (10, 2, 9):
        refs.take(PLACE, number, {})
    for name in ("3.json", "000000004.json~", "deeper/000000005.json"):
        refs.store.write(f"refs/{PLACE}/{name}", b"{}")
    assert refs.list_numbers(PLACE) == (2, 9, 10)
    assert refs.list_numbers("8/champion") == ()
    assert refs.list_projects() == ("7",)


def test_what_never_changes_is_read_once(refs: ObjectRefs) -> None:
    refs.take(PLACE, 1, {"version": "a"})
    first = refs.read(PLACE, 1)
    refs.store.delete([f"refs/{PLACE}/000000001.json"])
    assert refs.read(PLACE, 1) == first


def test_a_look_at_all_projects_is_one_request_and_what_is_taken_here_shows_at_once(refs: ObjectRefs) -> None:
    for project in range(1, 6):
        refs.take(f"{project}/champion", 1, {})
    calls, send = [], refs.store._send

    def count(method: str, *args: object, **kwargs: object) -> object:
        calls.append(method)
        return send(method, *args, **kwargs)

    refs.store._send = count  # type: ignore[method-assign]
    assert len(refs.list_projects()) == 5
    assert all(refs.list_numbers(f"{project}/champion") == (1,) for project in range(1, 6))
    assert len(calls) == 1
    refs.take("3/champion", 2, {})
    assert refs.list_numbers("3/champion") == (1, 2)


def test_what_another_machine_takes_shows_soon(refs: ObjectRefs, tmp_path: Path) -> None:
    assert refs.list_numbers(PLACE) == ()
    ObjectRefs(refs.store, SeenRefs(tmp_path / "elsewhere")).take(PLACE, 1, {})
    wait_until(lambda: refs.list_numbers(PLACE) == (1,))


def test_an_object_that_is_none_of_ours_is_refused(refs: ObjectRefs) -> None:
    refs.store.write(f"refs/{PLACE}/000000001.json", b"[1]")
    with pytest.raises(
        BadCheckpoint, match=r"memory://.*/refs/7/champion/000000001.json is not a pointer of samloop's"
    ):
        refs.read(PLACE, 1)
