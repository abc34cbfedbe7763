"""Numbered files in a folder are born whole, once, and what a kill leaves is swept with the rest of `staging`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.folder.disk import Disk
from backend.registry.folder.refs import FolderRefs

PLACE = "7/champion"


@pytest.fixture
def refs(tmp_path: Path) -> FolderRefs:
    return FolderRefs(Disk(tmp_path), staging=tmp_path / "staging")


def test_what_was_created_is_read_and_a_taken_number_stays_as_it_is(refs: FolderRefs) -> None:
    assert refs.take(PLACE, 1, {"version": "a"})
    assert not refs.take(PLACE, 1, {"version": "b"})
    assert refs.read(PLACE, 1) == {"version": "a"}
    assert refs.read(PLACE, 2) is None
    assert list(refs.staging.iterdir()) == []


def test_numbers_ascend_and_other_files_do_not_count(refs: FolderRefs, tmp_path: Path) -> None:
    for number in (10, 2, 9):
        refs.take(PLACE, number, {})
    for name in ("3.json", "000000004.json~", ".000000005.json.tmp"):
        (tmp_path / "refs" / PLACE / name).touch()
    assert refs.list_numbers(PLACE) == (2, 9, 10)
    assert refs.list_projects() == ("7",)


def test_no_folder_is_an_empty_one(refs: FolderRefs) -> None:
    assert refs.list_numbers("8/versions") == ()
    assert refs.list_projects() == ()


def test_of_two_who_take_a_number_at_once_one_wins(refs: FolderRefs) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda who: refs.take(PLACE, 7, {"who": str(who)}), range(8)))
    assert sum(won) == 1
    assert refs.read(PLACE, 7) == {"who": str(won.index(True))}


def test_a_disk_that_is_away_is_not_an_empty_one(tmp_path: Path) -> None:
    refs = FolderRefs(Disk(tmp_path / "gone"), staging=tmp_path / "gone" / "staging")
    for ask in (refs.list_projects, lambda: refs.list_numbers(PLACE), lambda: refs.read(PLACE, 1)):
        with pytest.raises(Unavailable, match="is its disk mounted"):
            ask()


@pytest.mark.parametrize("data", [b"", b"[1]", b"null", b"{", b"[" * 100_000])
def test_a_file_that_is_no_object_is_refused(refs: FolderRefs, tmp_path: Path, data: bytes) -> None:
    refs.take(PLACE, 1, {})
    (tmp_path / "refs" / PLACE / "000000001.json").write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"000000001\.json is not (JSON|a pointer)"):
        refs.read(PLACE, 1)
