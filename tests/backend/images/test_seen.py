"""An image's address is remembered for its source alone, for a while, and the least recently used goes first."""

import pytest

from backend.images import seen as module
from backend.images.seen import SeenImages


def test_an_address_belongs_to_the_source_that_read_it() -> None:
    seen = SeenImages()
    seen.add("studio#1", "/a.png", sha256="ab")
    assert seen.digest("studio#1", "/a.png") == "ab"
    assert seen.digest("studio#2", "/a.png") is None
    assert seen.digest("studio#1", "/b.png") is None


def test_an_address_is_forgotten_once_it_is_no_longer_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenImages(fresh_s=60.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    seen.add("studio", "/a.png", sha256="ab")
    monkeypatch.setattr(module.time, "monotonic", lambda: 159.0)
    assert seen.digest("studio", "/a.png") == "ab"
    monkeypatch.setattr(module.time, "monotonic", lambda: 161.0)
    assert seen.digest("studio", "/a.png") is None


def test_beyond_the_limit_the_least_recently_used_goes() -> None:
    seen = SeenImages(limit=2)
    seen.add("studio", "/a.png", sha256="a")
    seen.add("studio", "/b.png", sha256="b")
    seen.digest("studio", "/a.png")
    seen.add("studio", "/c.png", sha256="c")
    assert [seen.digest("studio", f"/{name}.png") for name in "abc"] == ["a", None, "c"]
