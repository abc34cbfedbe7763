"""What every request passes: credentials, a bounded body, strict JSON.

What it refuses, through the real door: tests/integration/bad_inputs/test_requests.py, 17 to 19 and 26.
"""

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from backend.errors import BadInput, SamloopError
from backend.http import guard
from backend.http.guard import Guard, StrictRoute, parse_json
from backend.http.problems import problem_response


def _client(*, user: str | None = None, password: str | None = None) -> TestClient:
    app = FastAPI()
    app.add_middleware(Guard, user=user, password=password, known_hosts=("backend.example",))

    async def sentence(_: object, error: SamloopError) -> object:
        return problem_response(error)

    app.add_exception_handler(SamloopError, sentence)
    router = APIRouter(route_class=StrictRoute)

    @router.post("/echo")
    def echo(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @router.post("/bare")
    @router.delete("/bare")
    def bare() -> dict[str, str]:
        return {}

    @router.get("/open")
    def look() -> dict[str, str]:
        return {}

    app.include_router(router)
    return TestClient(app)


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_right_credentials_pass_and_no_others() -> None:
    client = _client(user="label-studio", password="pä:ss")
    assert client.get("/open", headers=_basic("label-studio:pä:ss")).status_code == 200
    for headers in (
        {},
        _basic("label-studio:"),
        _basic("label-studio:pä:ss "),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic " + "A" * 1_000_000},
        {"Authorization": b"Basic \xff\xfe"},
    ):
        answer = client.get("/open", headers=headers)
        assert answer.status_code == 401
        assert "BASIC_AUTH_USER" in answer.json()["error"]
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({"Origin": "https://backend.example"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_sites_page_can_make_a_browser_change_nothing(headers: dict[str, str], status: int) -> None:
    """A form without a body needs no leave of ours, and comes with the credentials that the browser knows."""
    client = _client()
    for method in ("POST", "DELETE"):
        answer = client.request(method, "/bare", headers=headers)
        assert answer.status_code == status
        assert status == 200 or "was not sent by one of these pages" in answer.json()["error"]
    assert client.get("/open", headers=headers).status_code == 200


def test_a_chunked_body_is_counted_as_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 1000)

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    answer = _client().post("/echo", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_every_plain_value_reads_as_json_reads_it(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_value_or_bad_input_and_nothing_else(body: bytes) -> None:
    with contextlib.suppress(BadInput):
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        rb'{"a": "\ud83d"}',
        rb'{"\uDE00 \ud83d": 1}',
        b'{"a": "\xed\xa0\xbd"}',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_no_answer_could_hold_is_refused(body: bytes) -> None:
    """It would come back as an error of ours: half of a pair cannot be written as UTF-8."""
    with pytest.raises(BadInput, match="is no JSON that is read here"):
        parse_json(body)
    assert parse_json(rb'{"a": "\ud83d\ude00 \\ud83d"}') == {"a": "\N{GRINNING FACE} \\ud83d"}
