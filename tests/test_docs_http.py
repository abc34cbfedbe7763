"""Every request on the page about HTTP gets an answer like the one beside it."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient
from support.documents import DOCS, requests_of
from support.waiting import wait_until

from backend.server.app import create_app
from backend.settings import Settings
from backend.work.connection import connect

PAGE = DOCS / "http.md"
REQUESTS = [(words, answer) for words, answer in requests_of(PAGE) if "-N" not in words]  # -N: test_events


@pytest.fixture(scope="module")
def client(tiny_sam_dir: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        model=str(tiny_sam_dir), model_dir=tmp_path_factory.mktemp("models"), cache_dir=tmp_path_factory.mktemp("cache")
    )
    app = create_app(settings, connection=connect(redis_url))
    with TestClient(app, base_url="http://127.0.0.1:9090") as client:
        wait_until(lambda: client.get("/health").json()["model"] == "ready")
        yield client


def _send(client: TestClient, words: list[str]) -> Any:
    """What curl would send, by the few options that the page uses."""
    given = iter(words[1:])
    method, url, body, headers = None, "", None, {}
    for word in given:
        if word == "-X":
            method = next(given)
        elif word == "-H":
            name, _, value = next(given).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(given)
        else:
            url = word
    path = urlsplit(url).path
    return client.request(method or ("POST" if body else "GET"), path, content=body, headers=headers)


def _differences(shown: Any, found: Any, *, where: str = "answer") -> list[str]:
    """Where the answer that is shown has another shape than the one that came: a key, a kind of value, no element."""
    if isinstance(shown, dict) and isinstance(found, dict):
        lacking = [f"{where} has no {key!r}" for key in shown if key not in found]
        inner = [_differences(shown[key], found[key], where=f"{where}.{key}") for key in shown if key in found]
        return [*lacking, *(line for lines in inner for line in lines)]
    if isinstance(shown, list) and isinstance(found, list):
        if shown and not found:
            return [f"{where} is empty"]
        return _differences(shown[0], found[0], where=f"{where}[0]") if shown else []
    if shown is None or found is None or type(shown) is type(found):
        return []
    return [f"{where} is {found!r}, shown is {shown!r}"]


def test_all_requests_are_answered_in_their_order_as_the_page_shows(client: TestClient) -> None:
    assert len(REQUESTS) > 10
    for words, shown in REQUESTS:
        answer = _send(client, words)
        assert answer.is_success, f"{shlex.join(words)[:200]}: {answer.status_code} {answer.text[:500]}"
        if shown is not None:
            assert not _differences(shown, answer.json()), f"{shlex.join(words)[:200]}: {answer.text[:500]}"


def test_every_path_that_the_page_names_is_one_of_the_servers(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    known = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    page = PAGE.read_text()
    for method, path in sorted(known):
        assert f"`{method} {path.replace('{project_id}', '{id}')}`" in page, f"{method} {path} is not on the page"


def test_what_differs_from_the_page_is_told_with_its_place() -> None:
    shown = {"a": [{"b": 1}], "c": "text", "d": None}
    assert _differences(shown, {"a": [{"b": 2}], "c": "other", "d": 3}) == []
    assert _differences(shown, {"a": [{}], "c": 1}) == [
        "answer has no 'd'",
        "answer.a[0] has no 'b'",
        "answer.c is 1, shown is 'text'",
    ]
