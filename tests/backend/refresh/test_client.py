"""The backend asked over HTTP by a worker: what it sends, and what its answers mean."""

from collections.abc import Iterator

import pytest
from fakes.refreshes import PlayedBackend

from backend.errors import BadInput, NotAuthorized, SamloopError, TooMuch, Unavailable, Upstream
from backend.refresh.client import BackendClient
from backend.settings import Settings


@pytest.fixture
def backend() -> Iterator[PlayedBackend]:
    with PlayedBackend() as backend:
        yield backend


@pytest.fixture
def client(backend: PlayedBackend) -> BackendClient:
    return BackendClient(Settings(backend_url=backend.url, basic_auth_user="user", basic_auth_pass="pässword"))


def test_a_batch_goes_with_the_credentials_and_asks_why(backend: PlayedBackend, client: BackendClient) -> None:
    assert client.ask_served_version(7) == "v1"
    (answer,) = client.predict([{"id": 3, "data": {}}], project_id=7, label_config="<View/>")
    assert answer.model_version == "v1"
    request = backend.requests[-1]
    assert request.json() == {
        "tasks": [{"id": 3, "data": {}}],
        "project": 7,
        "label_config": "<View/>",
        "params": {"context": None, "why": True},
    }
    assert request.headers["authorization"] == "Basic dXNlcjpww6Rzc3dvcmQ="


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (400, BadInput, "refused /predict: the sentence"),
        (401, NotAuthorized, "BASIC_AUTH_USER"),
        (413, TooMuch, "the sentence"),
        (424, Upstream, "answered 424 to /predict: the sentence"),
        (429, Upstream, "answered 429"),
        (500, Upstream, "answered 500"),
        (503, Unavailable, "the sentence"),
    ],
)
def test_an_error_is_told_in_the_backends_words(
    backend: PlayedBackend, client: BackendClient, status: int, kind: type[SamloopError], says: str
) -> None:
    backend.fail("/predict", status=status, body={"detail": "the sentence"}, **{"Retry-After": "9"})
    with pytest.raises(SamloopError, match=says) as raised:
        client.predict([{"id": 3}], project_id=7, label_config="")
    assert type(raised.value) is kind
    assert getattr(raised.value, "retry_after_s", 9) in {9, None}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", {"results": []}, {"results": None}, {"results": ["x"]}])
def test_an_answer_that_is_none_is_an_error(backend: PlayedBackend, client: BackendClient, body: object) -> None:
    backend.fail("/predict", status=200, body=body)
    with pytest.raises(
        Upstream, match=r"answered 200|did not answer 1 tasks with as many predictions|not a prediction"
    ):
        client.predict([{"id": 3}], project_id=7, label_config="")


def test_a_backend_that_is_away_is_named_with_its_setting() -> None:
    client = BackendClient(Settings(backend_url="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match=r"does not answer on http://127.0.0.1:1 .* SAMLOOP_BACKEND_URL"):
        client.ask_served_version(7)
