"""The status as it changes: server-sent events, for as long as a browser listens."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.queue import connect_to_nobody

from backend.errors import Unavailable
from backend.server.app import create_app
from backend.server.events import status_events
from backend.server.routes import Routes
from backend.server.status import ProjectStatus
from backend.settings import Settings

EXAMPLE: dict[str, Any] = ProjectStatus.model_config["json_schema_extra"]["examples"][0]  # type: ignore[index, call-overload]


def status(phase: str) -> ProjectStatus:
    return ProjectStatus.model_validate(EXAMPLE | {"phase": phase})


def heard(told: Iterable[ProjectStatus | Exception], *, looks: int) -> list[str]:
    """What a browser hears that leaves after so many looks."""
    answers: Iterator[ProjectStatus | Exception] = iter(told)
    left = iter([False] * looks + [True])

    def read() -> ProjectStatus:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    async def has_left() -> bool:
        return next(left)

    async def listen() -> list[str]:
        events = status_events(read, has_left=has_left, look_s=0.001, quiet_s=0.002)
        return [event async for event in events]

    return asyncio.run(listen())


def phase_of(event: str) -> str:
    name, data = event.rstrip("\n").split("\n")
    assert name == "event: status"
    return str(json.loads(data.removeprefix("data: "))["phase"])


def test_an_event_comes_with_every_change_and_a_comment_while_there_is_none() -> None:
    events = heard([status("idle")] * 4 + [status("training")], looks=5)
    assert events[1] == ": still here\n\n"
    assert [phase_of(event) for event in (events[0], events[2])] == ["idle", "training"]
    assert len(events) == 3


def test_a_queue_that_is_away_ends_no_browsers_line() -> None:
    """A browser does not try again after an answer that is no 200, and ours would have ended with a traceback."""
    events = heard([status("idle"), Unavailable("away"), status("training")], looks=3)
    assert [phase_of(event) for event in events] == ["idle", "training"]
    assert heard([Unavailable("away")] * 2, looks=2) == []


def test_a_queue_that_is_away_is_told_to_whoever_asks_once(tmp_path: Path, tiny_sam_dir: Path) -> None:
    away = connect_to_nobody(tmp_path)
    settings = Settings(model=str(tiny_sam_dir), model_dir=tmp_path / "models", cache_dir=tmp_path / "cache")
    routes: Routes = create_app(settings, connection=away).state.routes
    with pytest.raises(Unavailable, match="the queue does not answer"):
        routes.projects.status(7)
