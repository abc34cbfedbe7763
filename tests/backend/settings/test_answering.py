"""The model, its caches, images and answers."""

from pathlib import Path

import pytest

from backend.errors import SettingsError
from backend.settings import Settings


def test_the_largest_image_is_counted_in_pixels_too() -> None:
    assert Settings.from_env({"SAMLOOP_IMAGE_MEGAPIXELS": "12"}).image.pixels == 12_000_000


def test_our_cache_lies_where_xdg_puts_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert Settings.from_env({}).cache.dir == Path("/elsewhere/samloop")


def test_hosts_of_images_are_compared_in_lower_case() -> None:
    assert Settings.from_env({"SAMLOOP_IMAGE_HOSTS": "Bucket.example:9000, nas,"}).image.hosts == (
        "bucket.example:9000",
        "nas",
    )


@pytest.mark.parametrize(("name", "text"), [("SAMLOOP_REFINE", "yes"), ("SAMLOOP_DTYPE", "float16")])
def test_a_name_outside_the_choices_is_refused_with_them(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{text}' is not one of .*auto"):
        Settings.from_env({name: text})
