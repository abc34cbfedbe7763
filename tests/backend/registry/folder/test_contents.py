"""Objects get their names whole, once, and only what nobody names is swept."""

from dataclasses import replace
from pathlib import Path

import pytest

from backend.registry.checkpoint import Manifest, verify_weights, write_checkpoint
from backend.registry.folder.contents import Contents


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return Contents(tmp_path)


def add(contents: Contents, manifest: Manifest, weights: bytes) -> str:
    with contents.stage() as staged:
        return contents.add(staged, write_checkpoint(staged, weights=weights, manifest=manifest))


def test_the_same_content_is_kept_once(contents: Contents, manifest: Manifest) -> None:
    """A publisher that was killed before its pointer has left the very same object."""
    assert add(contents, manifest, b"a") == add(contents, manifest, b"a") != add(contents, manifest, b"b")
    assert add(contents, replace(manifest, version="other"), b"a") != add(contents, manifest, b"a")


def test_an_object_verifies_and_nothing_stays_in_staging(contents: Contents, manifest: Manifest) -> None:
    sha256 = add(contents, manifest, b"weights")
    assert verify_weights(contents.folder(sha256)).read_bytes() == b"weights"
    assert list(contents.staging.iterdir()) == []


def test_what_is_named_or_young_is_not_swept(contents: Contents, manifest: Manifest) -> None:
    named, unnamed = add(contents, manifest, b"a"), add(contents, manifest, b"b")
    assert contents.sweep(named={named}, older_than_s=3600.0) == 0
    assert contents.sweep(named={named}, older_than_s=0.0) == 1
    assert contents.folder(named).is_dir()
    assert not contents.folder(unnamed).exists()
