"""A file of Label Studio's comes with the key, and the key leaves for nobody else."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio

from backend.errors import BadInput, RedirectedElsewhere, Upstream
from backend.labelstudio.api.files import get_bytes
from backend.labelstudio.api.session import Session


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as fake:
        fake._uploads["/data/upload/1/a.png"] = b"bytes"
        yield fake


def session(studio: FakeLabelStudio) -> Session:
    return Session(studio.url, studio.token, timeout_s=5.0)


def test_a_path_and_a_url_of_label_studio_give_the_file(studio: FakeLabelStudio) -> None:
    for address in ("/data/upload/1/a.png", f"{studio.url}/data/upload/1/a.png"):
        assert get_bytes(session(studio), address, max_bytes=10, deadline_s=5.0) == b"bytes"


def test_another_host_is_told_before_anything_is_sent(studio: FakeLabelStudio) -> None:
    with pytest.raises(RedirectedElsewhere, match=r"http://elsewhere\.example/a\.png"):
        get_bytes(session(studio), "http://elsewhere.example/a.png", max_bytes=10, deadline_s=5.0)
    assert studio.requests == []


def test_what_is_gone_or_too_large_is_told(studio: FakeLabelStudio) -> None:
    with pytest.raises(Upstream, match=r"answered 500 for /data/upload/1/gone\.png, as it does for an upload that is"):
        get_bytes(session(studio), "/data/upload/1/gone.png", max_bytes=10, deadline_s=5.0)
    with pytest.raises(BadInput, match="more than 3 bytes"):
        get_bytes(session(studio), "/data/upload/1/a.png", max_bytes=3, deadline_s=5.0)
