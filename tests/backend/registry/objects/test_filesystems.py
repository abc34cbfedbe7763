"""An address becomes a client of its store, or a sentence that says what to install."""

import sys

import pytest
from fsspec.registry import _registry

from backend.errors import SettingsError
from backend.registry.objects.filesystems import open_filesystem


@pytest.mark.parametrize(("url", "extra"), [("s3://b/p", "s3"), ("gs://b/p", "gcs"), ("az://b/p", "azure")])
def test_a_client_that_is_not_installed_is_named_with_its_command(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # where an earlier test has used it
    with pytest.raises(SettingsError, match=rf"MODEL_DIR='{url}' needs a client.*pip install 'samloop\[{extra}\]'"):
        open_filesystem(url)


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(SettingsError, match="in no store known here: s3, gs, az, memory"):
        open_filesystem("ftp://host/models")


def test_listings_are_never_remembered() -> None:
    """Another machine's decision must show at the next look."""
    assert open_filesystem("s3://bucket/models").dircache.use_listings_cache is False
