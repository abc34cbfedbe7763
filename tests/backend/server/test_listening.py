"""A server that ends tells its application first, so that nobody is cut off and nobody holds the end up."""

import socket
import threading
import time
from collections.abc import AsyncIterator

import requests
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from support.listening import listening
from support.waiting import SOON_S, wait_until

from backend.http.doorkeeper import Limits
from backend.server.events import status_events
from backend.server.listening import Server, server_of
from backend.server.status import ProjectStatus
from backend.settings import Settings

_GRACE_S = 15.0  # uvicorn would wait 20 s for an open event stream


def _server_of(app: FastAPI) -> Server:
    return server_of(app, Settings(), host="127.0.0.1", port=0, limits=Limits(connections=20))


def test_an_open_event_stream_ends_with_the_server() -> None:
    """A review page that somebody left open cost every stop 20 s of refused connections."""
    app, is_ending = FastAPI(), threading.Event()
    app.state.drain = is_ending.set
    status = ProjectStatus.model_validate(ProjectStatus.model_config["json_schema_extra"]["examples"][0])  # type: ignore[index,call-overload]

    async def stays() -> bool:
        return False

    @app.get("/events")
    async def events() -> StreamingResponse:
        lines: AsyncIterator[str] = status_events(lambda: status, has_left=stays, is_ending=is_ending.is_set)
        return StreamingResponse(lines, media_type="text/event-stream")

    server = _server_of(app)
    with (
        listening(server) as running,
        requests.get(f"{running.url}/events", stream=True, timeout=SOON_S) as page,
    ):
        assert next(page.iter_lines()) == b"event: status"
        began_s = time.monotonic()
        server.should_exit = True
        running.thread.join(SOON_S)
        assert time.monotonic() - began_s < _GRACE_S


def test_who_had_connected_before_the_end_is_answered_though_the_request_comes_after_it() -> None:
    """A proxy had connected, and its click was on the way when the server was told to end."""
    app = FastAPI()
    app.state.drain = lambda: None
    app.get("/")(lambda: "answered")
    server = _server_of(app)
    server.arriving_s = 5.0
    with listening(server) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=SOON_S) as client:
            wait_until(lambda: server.server_state.connections)
            server.should_exit = True
            wait_until(lambda: not server.servers[0].is_serving())
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        running.thread.join(SOON_S)
        assert not running.thread.is_alive()
