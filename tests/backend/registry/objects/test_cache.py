"""Copies on this machine's disk are what their digests say, or they are fetched again."""

import hashlib
import os
from pathlib import Path

import pytest

from backend.errors import BadCheckpoint, Unavailable
from backend.registry.checkpoint import MANIFEST_FILE, Manifest, write_checkpoint
from backend.registry.objects.cache import CheckpointCache


@pytest.fixture
def published(manifest: Manifest, tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "published", weights=b"weights", manifest=manifest)
    return tmp_path / "published"


def copy(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def test_a_checkpoint_is_downloaded_once(published: Path, tmp_path: Path) -> None:
    cache, downloads = CheckpointCache(tmp_path / "cache", most_bytes=1 << 20), 0

    def fill(folder: Path) -> None:
        nonlocal downloads
        downloads += 1
        copy(published, folder)

    for _ in range(3):
        assert (cache.fetch(digest(published), fill=fill) / MANIFEST_FILE).is_file()
    assert CheckpointCache(tmp_path / "cache", most_bytes=1 << 20).fetch(digest(published), fill=fill).is_dir()
    assert downloads == 1


def test_a_download_that_is_cut_off_leaves_no_copy(published: Path, tmp_path: Path) -> None:
    cache = CheckpointCache(tmp_path / "cache", most_bytes=1 << 20)

    def fill(folder: Path) -> None:
        (folder / MANIFEST_FILE).write_bytes((published / MANIFEST_FILE).read_bytes())
        raise Unavailable("the store cannot be reached")

    with pytest.raises(Unavailable, match="the store cannot be reached"):
        cache.fetch(digest(published), fill=fill)
    assert list((tmp_path / "cache" / "objects").iterdir()) == []


def test_a_manifest_with_another_digest_is_refused_and_a_rotten_copy_is_replaced(
    published: Path, tmp_path: Path
) -> None:
    cache, data = CheckpointCache(tmp_path / "cache", most_bytes=1 << 20), (published / MANIFEST_FILE).read_bytes()
    with pytest.raises(BadCheckpoint, match="its pointer says"):
        cache.fetch_manifest(digest(published), read=lambda: data + b" ")
    assert cache.fetch_manifest(digest(published), read=lambda: data) == data
    (tmp_path / "cache" / "manifests" / f"{digest(published)}.json").write_bytes(b"rotten")
    assert cache.fetch_manifest(digest(published), read=lambda: data) == data


def test_what_was_used_within_the_hour_stays_above_the_bound(published: Path, tmp_path: Path) -> None:
    """Somebody may be reading it. Fails, too, where a copy is not verified before it is used."""
    cache = CheckpointCache(tmp_path / "cache", most_bytes=1)
    first = cache.fetch(digest(published), fill=lambda folder: copy(published, folder))
    manifest = tmp_path / "cache" / "manifests" / "old.json"
    manifest.parent.mkdir()
    manifest.write_bytes(b"{}")
    os.utime(manifest, (0, 0))
    (first / MANIFEST_FILE).unlink()  # damaged: fetched anew, and room is made
    assert cache.fetch(first.name, fill=lambda folder: copy(published, folder)) == first
    assert (first / MANIFEST_FILE).is_file()
    assert not manifest.exists()


def test_a_disk_that_takes_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the folder's place")
    cache = CheckpointCache(tmp_path / "cache", most_bytes=1)
    with pytest.raises(Unavailable, match=r"cannot be copied to .*cache: .*set SAMLOOP_CACHE_DIR"):
        cache.fetch("0" * 64, fill=lambda _: None)
