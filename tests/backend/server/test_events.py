"""The status as it changes: server-sent events, for as long as a browser listens."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.errors import Unavailable
from backend.server import routes
from backend.server.app import create_app
from backend.server.routes import Routes
from backend.settings import Settings


class Listener:
    """A browser that leaves after so many looks."""

    def __init__(self, looks: int) -> None:
        self._left = looks

    async def is_disconnected(self) -> bool:
        self._left -= 1
        return self._left < 0


@pytest.fixture
def handlers(tmp_path: Path, tiny_sam_dir: Path) -> Routes:
    away = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    found: Routes = create_app(settings, connection=away).state.routes
    return found


def heard(handlers: Routes, *, looks: int) -> list[Any]:
    async def listen() -> list[Any]:
        answer = await handlers.events(7, Listener(looks))  # type: ignore[arg-type]
        return [each async for each in answer.body_iterator]

    return asyncio.run(listen())


def test_an_event_comes_with_every_change_and_a_comment_while_there_is_none(
    handlers: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_LOOK_S", 0.001)
    monkeypatch.setattr(routes, "_QUIET_S", 0.002)
    told: Iterator[dict[str, Any]] = iter([{"phase": "idle"}] * 4 + [{"phase": "training"}])
    monkeypatch.setattr(handlers, "status", lambda _: next(told))
    assert heard(handlers, looks=5) == [
        'event: status\ndata: {"phase": "idle"}\n\n',
        ": still here\n\n",
        'event: status\ndata: {"phase": "training"}\n\n',
    ]


def test_a_queue_that_is_away_ends_no_browsers_line(handlers: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser does not try again after an answer that is no 200, and ours would have ended with a traceback."""
    monkeypatch.setattr(routes, "_LOOK_S", 0.001)
    with pytest.raises(Unavailable, match="the queue does not answer"):
        handlers.status(7)
    assert heard(handlers, looks=3) == []
    told = iter([{"phase": "idle"}, Unavailable("away"), {"phase": "training"}])

    def status(_: int) -> dict[str, Any]:
        if isinstance(each := next(told), Unavailable):
            raise each
        return each

    monkeypatch.setattr(handlers, "status", status)
    assert [each.count("data:") for each in heard(handlers, looks=3)] == [1, 1]
