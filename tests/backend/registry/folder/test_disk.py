"""What the disk answers becomes a sentence with the next step."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from backend.errors import Unavailable
from backend.registry.folder.disk import MARK_FILE, Disk
from backend.registry.local import LocalRegistry


def _fail(code: int) -> None:
    raise OSError(code, os.strerror(code))


def test_a_root_that_is_not_there_is_away(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "models")
    with pytest.raises(Unavailable, match=r"models does not exist: is its disk mounted \(MODEL_DIR\)"), disk.reading():
        pytest.fail("nothing below it may be read")


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "make it writable"),
        (errno.EPERM, "on a disk that has hard links"),
    ],
)
def test_a_disk_that_takes_nothing_says_what_to_do(tmp_path: Path, code: int, step: str) -> None:
    said = f"cannot be written: {os.strerror(code)}; the served version stays; .*{step}"
    with pytest.raises(Unavailable, match=said), Disk(tmp_path).writing():
        _fail(code)


def write_something(disk: Disk) -> None:
    with disk.writing():
        (disk.root / "file").touch()


def swap(root: Path, other: Path) -> None:
    """Unmount the disk of the root, or mount it again."""
    middle = root.with_name("between")
    root.rename(middle)
    other.rename(root)
    middle.rename(other)


def test_the_first_write_marks_the_registry_and_reading_leaves_it_alone(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with disk.reading():
        assert list(tmp_path.iterdir()) == []
    write_something(disk)
    mark = (tmp_path / MARK_FILE).read_bytes()
    write_something(Disk(tmp_path))
    assert (tmp_path / MARK_FILE).read_bytes() == mark
    assert set(json.loads(mark)) == {"format", "id"}


def test_a_mark_that_another_publisher_leaves_during_the_look_is_not_taken_for_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    root.mkdir()
    disk, other = Disk(root, memory=memory), Disk(root, memory=memory)
    looks, exists = [], Path.exists

    def look(path: Path) -> bool:
        found = exists(path)
        if path.name == MARK_FILE and not looks:
            looks.append(found)
            write_something(other)
        return found

    monkeypatch.setattr(Path, "exists", look)
    write_something(disk)
    assert looks == [False]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_nothing_is_written_into_an_empty_folder_in_place_of_the_disk(tmp_path: Path, is_restarted: bool) -> None:
    """Fails without the mark, and after a restart without the memory: all would look as if nothing was published."""
    root, away, memory = tmp_path / "models", tmp_path / "away", tmp_path / "memory"
    root.mkdir()
    away.mkdir()
    disk = Disk(root, memory=memory)
    write_something(disk)
    if is_restarted:
        disk = Disk(root, memory=memory)
    swap(root, away)
    for asked in (disk.reading, disk.writing):
        with pytest.raises(Unavailable, match=r"lost its mark \(registry.json\).* is its disk mounted"), asked():
            pytest.fail("the disk cannot be reached")
    assert list(root.iterdir()) == []
    swap(root, away)
    write_something(disk)


def test_a_registry_that_was_deleted_on_purpose_begins_anew_by_the_step_that_is_told(tmp_path: Path) -> None:
    root, memory = tmp_path / "models", tmp_path / "memory"
    root.mkdir()
    write_something(Disk(root, memory=memory))
    shutil.rmtree(root)
    disk = Disk(root, memory=memory)
    assert disk.had_mark
    with pytest.raises(Unavailable, match=r"does not exist: is its disk mounted.*on purpose, delete ") as away:
        write_something(disk)
    Path(str(away.value).rpartition("delete ")[2].removesuffix(" too")).unlink()
    root.mkdir()
    write_something(disk)


def test_a_memory_that_cannot_be_written_costs_nothing_but_the_memory(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "memory").touch()
    write_something(Disk(tmp_path / "models", memory=tmp_path / "memory"))


def test_a_disk_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read: Input/output error"), Disk(tmp_path).reading():
        _fail(errno.EIO)


def test_flags_and_live_lines_do_not_land_in_an_empty_folder_in_place_of_the_disk(tmp_path: Path) -> None:
    """Fails with `OneDisk` as the state's sharing: they would be hidden once the disk is mounted again."""
    root = tmp_path / "models"
    state = LocalRegistry(root).state_dir
    disk = Disk(root)
    with disk.writing():
        pass
    state.sharing.append(root / "lines.jsonl", [{"n": 1}], is_synced=False)
    (root / "lines.jsonl").unlink()
    (root / MARK_FILE).unlink()
    with pytest.raises(OSError, match="is its disk mounted"):
        state.sharing.append(root / "lines.jsonl", [{"n": 2}], is_synced=False)
    with pytest.raises(OSError, match="is its disk mounted"):
        state.sharing.push(root / "lines.jsonl")
    assert list(root.iterdir()) == []
