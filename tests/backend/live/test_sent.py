"""What was sent is found again by its region's id, and takes a bounded place on the disk."""

import os
from pathlib import Path
from typing import Any

import pytest

from backend.live.sent import SentRegions


def region(name: str, *, size: int = 10) -> dict[str, Any]:
    return {"id": name, "meta": {"model_version": "v1"}, "value": {"rle": list(os.urandom(size))}}


@pytest.mark.parametrize("name", ["samloop-0a1b", "../../etc/passwd", "", "\u00e4\n", "x" * 500])
def test_a_region_comes_back_as_it_was_kept(tmp_path: Path, name: str) -> None:
    sent, kept = SentRegions(tmp_path / "sent"), region(name)
    sent.keep([kept])
    assert SentRegions(tmp_path / "sent").recall([name, "another"]) == {name: kept}
    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "sent"]


def test_a_region_that_is_refined_under_its_id_is_what_was_given_last(tmp_path: Path) -> None:
    sent = SentRegions(tmp_path / "sent")
    sent.keep([region("a"), last := region("a")])
    assert sent.recall(["a"]) == {"a": last}


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    sent = SentRegions(tmp_path / "sent", most_bytes=1 << 20)
    names = [f"r{number}" for number in range(400)]
    for age, name in enumerate(names):
        sent.keep([region(name, size=2000)])
        os.utime(sent._path(name), (age, age))
    left = list(sent.recall(names))
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "sent").iterdir()) <= (1 << 20) * 17 // 16
    assert 200 < len(left) < 300
    assert left == names[-len(left) :]


def test_a_file_that_cannot_be_read_is_one_region_unknown(tmp_path: Path) -> None:
    sent = SentRegions(tmp_path / "sent")
    sent.keep([region("a"), kept := region("b")])
    sent._path("a").write_bytes(b"no zlib")
    assert sent.recall(["a", "b"]) == {"b": kept}
