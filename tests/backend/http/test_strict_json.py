"""JSON as it is read here: every plain value, nothing else, and never for long."""

import contextlib
import json

import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from backend.errors import BadInput, TooMuch
from backend.http.admission import Admission
from backend.http.strict_json import parse_json, strict_route

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
    with pytest.raises(BadInput, match="is not valid JSON"):
        parse_json(body)
    assert parse_json(rb'{"a": "\ud83d\ude00 \\ud83d"}') == {"a": "\N{GRINNING FACE} \\ud83d"}


@pytest.mark.parametrize("part", [b"[],", b"{},", b'{"a":1},', b"1,"])
def test_what_would_take_long_to_read_is_refused_before_it_is_read(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else runs while Python parses, /health included: a list of 20 million empty lists took ten seconds."""
    parse_json(b"[" + part * 100 + b"1]", most=1000)
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(TooMuch, match="at most 1000 are allowed"):
        parse_json(b"[" + part * 1500 + b"1]", most=1000)


def test_long_texts_and_pictures_cost_nothing() -> None:
    assert parse_json(json.dumps({"image": "A" * 10_000_000}).encode())


def test_a_large_body_is_parsed_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    run = Admission.run

    async def noted(self: Admission, handler: object) -> object:
        ran.append(handler)
        return await run(self, handler)  # type: ignore[arg-type]

    monkeypatch.setattr(Admission, "run", noted)
    app, router = FastAPI(), APIRouter(route_class=strict_route())

    @router.post("/length")
    def length(body: dict[str, str]) -> int:
        return len(body["text"])

    app.include_router(router)
    client = TestClient(app)
    assert client.post("/length", json={"text": "a"}).json() == 1
    assert not ran
    assert client.post("/length", json={"text": "a" * 100_000}).json() == 100_000
    assert len(ran) == 1
