"""What a machine read of a store, it can read again while the store cannot be reached, as long as it is undamaged."""

from pathlib import Path

import pytest
from support.checkpoints import make_manifest
from support.object_store import open_store

from backend.errors import BadCheckpoint, NotFound, Unavailable
from backend.registry.checkpoint import WEIGHTS_FILE
from backend.registry.objects.last_seen import SeenRefs
from backend.registry.objects.registry import ObjectRegistry


@pytest.fixture
def registry(tmp_path: Path) -> ObjectRegistry:
    return open_store("memory://", tmp_path / "models")


def publish(registry: ObjectRegistry, weights: bytes) -> str:
    version = registry.publish(1, weights=weights, manifest=make_manifest()).version
    registry.promote(1, version, reason="better")
    return version


def test_what_was_read_is_there_without_the_store(registry: ObjectRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [publish(registry, weights) for weights in (b"a", b"b")]
    history = registry.history(1)
    for version in versions:
        registry.materialise(version)

    def refuse(*_: object) -> None:
        raise AssertionError("the store is not asked")

    monkeypatch.setattr(registry._store, "_try", refuse)
    seen = registry.last_seen
    assert seen.projects() == (1,)
    assert seen.history(1) == history
    assert [seen.manifest(version).version for version in versions] == versions
    assert (seen.materialise(versions[-1]) / WEIGHTS_FILE).read_bytes() == b"b"


def test_what_was_never_read_is_not_there(registry: ObjectRegistry, tmp_path: Path) -> None:
    version = publish(registry, b"a")
    elsewhere = ObjectRegistry(registry._store.url, folder=tmp_path / "another machine", most_bytes=1 << 20)
    seen = elsewhere.last_seen
    assert seen.projects() == seen.history(1) == ()
    with pytest.raises(NotFound, match=version):
        seen.materialise(version)
    elsewhere.manifest(version)
    with pytest.raises(Unavailable, match="no copy of the version"):
        seen.materialise(version)


def test_a_copy_that_rotted_does_not_come_out(registry: ObjectRegistry) -> None:
    version = publish(registry, b"weights")
    weights = registry.materialise(version) / WEIGHTS_FILE
    weights.write_bytes(b"weightS")
    with pytest.raises(Unavailable, match="no copy of the version"):
        registry.last_seen.materialise(version)


def test_the_files_hold_what_was_read_last_and_torn_files_are_refused(tmp_path: Path) -> None:
    """A store that was made anew gives its numbers again."""
    refs = SeenRefs(tmp_path / "refs")
    assert refs.read("1/champion", 1) is None
    for data in (b'{"a": 1}', b'{"a": 2}'):
        refs.note("1/champion", 1, data)
    assert (refs.list_projects(), refs.list_numbers("1/champion")) == (("1",), (1,))
    assert refs.read("1/champion", 1) == {"a": 2}
    refs.note("1/champion", 2, b'{"a"')
    with pytest.raises(BadCheckpoint, match="is not JSON"):
        refs.read("1/champion", 2)
    with pytest.raises(Unavailable, match="cannot be taken"):
        refs.take("1/champion", 3, {})


def test_a_disk_that_takes_nothing_does_not_fail_the_reading(tmp_path: Path) -> None:
    (tmp_path / "refs").write_text("a file where the folder should be")
    SeenRefs(tmp_path / "refs").note("1/champion", 1, b"{}")
