"""Local files are read below the named folders, and not one level higher."""

import os
from pathlib import Path

import pytest

from backend.errors import BadInput, ForbiddenUrl, NotFound
from backend.images.local_files import parse_path, read_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a b.png").write_bytes(b"inside")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return folder


def read(relative: str, *roots: Path, max_bytes: int = 100) -> bytes:
    return read_file(relative, roots=roots, max_bytes=max_bytes)


def test_a_file_below_a_root_is_read(root: Path, tmp_path: Path) -> None:
    assert read("sub/a b.png", root) == b"inside"
    other = tmp_path / "other"
    other.mkdir()
    assert read("sub/a b.png", other, root) == b"inside"


def test_a_link_within_the_root_is_followed_and_one_out_of_it_is_not(root: Path, tmp_path: Path) -> None:
    (root / "near").symlink_to(root / "sub")
    (root / "etc").symlink_to("/etc")
    (root / "file").symlink_to(tmp_path / "secret.txt")
    assert read("near/a b.png", root) == b"inside"
    for relative in ("etc/passwd", "file"):
        with pytest.raises(ForbiddenUrl, match=r"leads out of .*images"):
            read(relative, root)


def test_a_root_that_is_a_link_itself_is_a_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert read("sub/a b.png", tmp_path / "alias") == b"inside"


@pytest.mark.parametrize("relative", ["/etc/passwd", "../secret.txt", "sub/../../secret.txt"])
def test_a_path_out_of_the_root_is_refused(root: Path, relative: str) -> None:
    with pytest.raises(ForbiddenUrl, match="leads out of"):
        read(relative, root)


def test_a_sibling_with_the_roots_name_as_a_prefix_is_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "images-private").mkdir()
    (tmp_path / "images-private" / "x").write_bytes(b"secret")
    with pytest.raises(ForbiddenUrl, match="leads out of"):
        read("../images-private/x", root)


def test_what_is_no_plain_file_is_not_found_and_does_not_hang(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for relative in ("pipe", "sub", "gone.png", "sub/a b.png/x", "x" * 300):
        with pytest.raises(NotFound, match="there is no file"):
            read(relative, root)


def test_a_file_that_may_not_be_read_is_not_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("backend.images.local_files.os.open", refuse)
    with pytest.raises(NotFound, match="Permission denied"):
        read("sub/a b.png", root)


def test_a_file_over_the_limit_is_refused(root: Path) -> None:
    assert read("sub/a b.png", root, max_bytes=6) == b"inside"
    with pytest.raises(BadInput, match="more than 5 bytes"):
        read("sub/a b.png", root, max_bytes=5)


def test_the_path_is_decoded_once() -> None:
    assert parse_path("d=sub%2Fa%20b.png") == "sub/a b.png"
    assert parse_path("x=1&d=100%25.png") == "100%.png"


@pytest.mark.parametrize(
    ("query", "kind", "complaint"),
    [
        ("", BadInput, "needs exactly one d=path, and this address has 0"),
        ("d=", BadInput, "needs exactly one d=path"),
        ("d=a&d=b", BadInput, "needs exactly one d=path, and this address has 2"),
        ("&".join(["d=a"] * 50), BadInput, "too many fields"),
        ("d=../../etc/passwd", ForbiddenUrl, "climbs"),
        ("d=%2e%2e/%2e%2e/etc/passwd", ForbiddenUrl, "climbs"),
        ("d=%252e%252e%252fetc", ForbiddenUrl, "climbs"),
        ("d=a%00.png", ForbiddenUrl, "climbs"),
        ("d=..%5c..%5cetc", ForbiddenUrl, "climbs"),
    ],
)
def test_a_query_that_names_no_single_plain_path_is_refused(query: str, kind: type[BadInput], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        parse_path(query)


@pytest.mark.parametrize("query", ["d=/sub/a%20b.png", "d=//sub/a b.png", "d=%5Csub%5Ca b.png"])
def test_a_slash_at_the_start_is_left_out_as_label_studio_does(root: Path, query: str) -> None:
    """label-studio#2036: `?d=/0fdb2623-25997_5.jpg`, as its converters write for images at the root."""
    assert read(parse_path(query), root) == b"inside"
    with pytest.raises(NotFound, match="no file 'etc/passwd' below"):
        read(parse_path("d=/etc/passwd"), root)
