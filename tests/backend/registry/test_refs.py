"""Numbered files are born whole, once, and the highest is the latest."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.errors import BadCheckpoint
from backend.registry import refs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "refs").mkdir()
    return tmp_path / "refs"


def test_what_was_created_is_read_and_a_taken_number_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert refs.take_number(folder, 1, {"version": "a"}, staging=tmp_path / "staging")
    assert not refs.take_number(folder, 1, {"version": "b"}, staging=tmp_path / "staging")
    assert refs.read_ref(folder, 1) == {"version": "a"}
    assert list((tmp_path / "staging").iterdir()) == []


def test_numbers_ascend_and_other_files_do_not_count(folder: Path, tmp_path: Path) -> None:
    for number in (10, 2, 9):
        refs.take_number(folder, number, {}, staging=tmp_path / "staging")
    for name in ("3.json", "000000004.json~", ".000000005.json.tmp"):
        (folder / name).touch()
    assert refs.list_numbers(folder) == (2, 9, 10)
    assert refs.find_highest(folder) == 10


def test_no_folder_is_an_empty_one(tmp_path: Path) -> None:
    assert refs.list_numbers(tmp_path / "nowhere") == ()
    assert refs.find_highest(tmp_path / "nowhere") == 0


def test_of_two_who_take_a_number_at_once_one_wins(folder: Path, tmp_path: Path) -> None:
    def take(who: int) -> bool:
        return refs.take_number(folder, 7, {"who": str(who)}, staging=tmp_path / "staging")

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(take, range(8)))
    assert sum(won) == 1
    assert refs.read_ref(folder, 7) == {"who": str(won.index(True))}


@pytest.mark.parametrize("data", [b"", b"[1]", b"null", b"{", b"[" * 100_000])
def test_a_file_that_is_no_object_is_refused(folder: Path, data: bytes) -> None:
    (folder / "000000001.json").write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"000000001\.json is not (JSON|a pointer of samloop's)"):
        refs.read_ref(folder, 1)
