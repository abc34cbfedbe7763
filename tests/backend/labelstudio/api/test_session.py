"""A session speaks to one Label Studio, and turns its failures into ours."""

from collections.abc import Iterator

import pytest
from fakes.label_studio import FakeLabelStudio

from backend.errors import BadInput, NotFound, Upstream
from backend.labelstudio.api import session
from backend.labelstudio.api.session import Session, json_list, json_object


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    with FakeLabelStudio() as fake:
        yield fake


def test_an_answer_is_an_object_or_a_list_or_the_list_of_a_page() -> None:
    assert json_object({"a": 1}) == {"a": 1}
    assert json_list([{"a": 1}]) == json_list({"results": [{"a": 1}]}) == [{"a": 1}]
    for wrong in ("text", None, 5, {"results": 5}):
        with pytest.raises(Upstream, match="where a list was expected"):
            json_list(wrong)
    with pytest.raises(Upstream, match="list where an object was expected"):
        json_object([])


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("studio", "ftp://studio", "http://user:pass@studio"):
        with pytest.raises(BadInput, match="is not the address of a Label Studio"):
            Session(url, "a" * 40, timeout_s=1.0)


@pytest.mark.parametrize("limit", ["_MOST_BYTES", "_LONGEST_S"])
def test_an_answer_that_does_not_end_is_given_up(
    studio: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """One took 10.5 GB of memory: the silence of a connection says nothing of how long it speaks."""
    known = Session(studio.url, studio.token, timeout_s=5.0)
    assert known.send("GET", "/api/current-user/whoami")
    monkeypatch.setattr(session, limit, 0)
    with pytest.raises(Upstream, match="with more than"):
        known.send("GET", "/api/current-user/whoami")


def test_the_name_tells_keys_apart_and_shows_none() -> None:
    one, two = (Session("http://h:1/", key * 40, timeout_s=1.0) for key in "ab")
    assert one.name != two.name
    assert "a" * 40 not in one.name


def test_what_label_studio_does_not_have_is_told_with_the_request(studio: FakeLabelStudio) -> None:
    with pytest.raises(NotFound, match="has nothing at GET /api/projects/99/"):
        Session(studio.url, studio.token, timeout_s=5.0).send("GET", "/api/projects/99/")
