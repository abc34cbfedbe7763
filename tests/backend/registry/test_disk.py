"""What the disk answers becomes a sentence with the next step."""

import errno
import os
from pathlib import Path

import pytest

from backend.errors import Unavailable
from backend.registry.disk import Disk


def _fail(code: int) -> None:
    raise OSError(code, os.strerror(code))


def test_a_root_that_is_not_there_is_away(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "models")
    with pytest.raises(Unavailable, match=r"models is not there; is its disk mounted \(MODEL_DIR\)"), disk.reading():
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
    said = f"cannot be written: {os.strerror(code)}; what is served stays; .*{step}"
    with pytest.raises(Unavailable, match=said), Disk(tmp_path).writing():
        _fail(code)


def test_a_disk_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be read: Input/output error"), Disk(tmp_path).reading():
        _fail(errno.EIO)
