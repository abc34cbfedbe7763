"""A place for what a command makes is looked at before the work."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.files.outputs import new_file, new_folder, usable_folder


@pytest.mark.parametrize("look", [new_file, new_folder])
def test_a_place_that_is_free_is_absolute_and_its_parents_are_made(
    look: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert look(Path("a/b/out")) == tmp_path / "a" / "b" / "out"
    assert list((tmp_path / "a" / "b").iterdir()) == [], "looking leaves nothing behind"


@pytest.mark.parametrize("look", [new_file, new_folder])
def test_what_is_there_is_never_overwritten(look: Callable[[Path], Path], tmp_path: Path) -> None:
    held = tmp_path / "out"
    if look is new_folder:
        held.mkdir()
        assert look(held) == held, "an empty folder is free"
        held = held / "checkpoint.json"
    held.write_text("an hour's work")
    with pytest.raises(BadInput, match=r"nothing is ever overwritten: .*name"):
        look(tmp_path / "out")
    assert held.read_text() == "an hour's work"


def test_a_link_or_a_file_is_no_new_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(BadInput, match="is no folder: name one that does not exist yet"):
            new_folder(tmp_path / name)


@pytest.mark.parametrize("look", [new_file, new_folder, usable_folder])
def test_a_place_below_a_file_is_refused_with_the_files_name(look: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/out cannot be written: .*/file is no folder; name another"):
        look(tmp_path / "file" / "out")


def test_a_folder_that_goes_on_may_hold_something(tmp_path: Path) -> None:
    (tmp_path / "login.json").write_text("{}")
    assert usable_folder(tmp_path) == tmp_path
    with pytest.raises(BadInput, match="is no folder"):
        usable_folder(tmp_path / "login.json")
