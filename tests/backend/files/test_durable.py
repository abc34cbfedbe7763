"""Files and folders are there whole or not at all, and what is no plain file is never read."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.errors import BadCheckpoint
from backend.files.durable import fill_folder, make_folder, make_inside, open_plain, write_file, write_new

WRITER = """
import sys
from pathlib import Path
from backend.files.durable import write_file
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_file(Path(sys.argv[1]), bytes([letter]) * 500_000, is_synced=sys.argv[2] == "synced")
"""


@pytest.mark.parametrize("how", ["synced", "quick"])
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    write_file(path, b"b" * 500_000)
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), how], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            for _ in range(200):
                assert path.read_bytes() in {b"a" * 500_000, b"b" * 500_000}
            writer.kill()
        assert path.read_bytes() in {b"a" * 500_000, b"b" * 500_000}


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "file", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_new_file_never_takes_anothers_place(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"old")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_gets_its_name_when_it_is_filled(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with fill_folder(target) as folder:
        (folder / "file").write_bytes(b"x")
        assert not target.exists()
    assert (target / "file").read_bytes() == b"x"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_could_not_be_filled_is_not_there(tmp_path: Path) -> None:
    def fill_half() -> None:
        with fill_folder(tmp_path / "made") as folder:
            (folder / "file").write_bytes(b"x")
            raise KeyError("half-way")

    with pytest.raises(KeyError):
        fill_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_never_takes_the_place_of_one_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "theirs").touch()
    with pytest.raises(OSError, match="not empty"), fill_folder(tmp_path / "made") as folder:
        (folder / "ours").touch()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path, plain = tmp_path / "x", tmp_path / "plain"
    plain.write_bytes(b"plain")
    {"link": lambda: path.symlink_to(plain), "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(BadCheckpoint, match="plain file"):
        open_plain(path)
    with open_plain(plain) as file:
        assert file.read() == b"plain"


def test_a_root_whose_disk_is_away_is_not_made_anew(tmp_path: Path) -> None:
    """An empty folder in its place would hide every version."""
    with pytest.raises(FileNotFoundError):
        make_inside(tmp_path / "away", tmp_path / "away" / "a" / "b")
    make_inside(tmp_path, tmp_path / "a" / "b")
    make_inside(tmp_path, tmp_path / "a" / "b")
    make_folder(tmp_path / "c" / "d")
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "b", "c", "d"}
