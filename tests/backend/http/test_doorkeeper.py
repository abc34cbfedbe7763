"""However many connections somebody opens, and however slowly he sends, /health is answered at once."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests
from fastapi import FastAPI, Request
from support.listening import listening
from support.waiting import SOON_S, wait_until

from backend.http.doorkeeper import Doorkeeper, Limits, affordable_connections
from backend.server.listening import server_of
from backend.settings import Settings

_HEALTH_S = 3.0  # Label Studio gives it one second; this machine may be busy


@contextmanager
def _listening(limits: Limits, *, entered: threading.Semaphore | None = None) -> Iterator[int]:
    """The port of a small application behind the real door; `entered` is released by every slow request."""
    app = FastAPI()
    may_answer = threading.Event()
    app.state.drain = may_answer.set

    @app.get("/health")
    async def health() -> str:
        return "UP"

    @app.get("/slow")
    def slow() -> str:
        if entered is not None:
            entered.release()
        may_answer.wait(SOON_S)
        return "done"

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    server = server_of(app, Settings(), host="127.0.0.1", port=0, limits=limits)
    with listening(server) as running:
        try:
            yield running.port
        finally:
            may_answer.set()


def _is_up(port: int) -> bool:
    return requests.get(f"http://127.0.0.1:{port}/health", timeout=_HEALTH_S).text == '"UP"'


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server hung up; waits for it."""
    connection.settimeout(SOON_S)
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the server has hung up by now."""
    connection.setblocking(False)
    try:
        return connection.recv(1000) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_two_thousand_idle_connections_do_not_keep_health_waiting() -> None:
    """Fails without the doorkeeper's own limit: the server would hold all of them, and in the end have no file left.

    uvicorn's `limit_concurrency` counts none of these.
    """
    with _listening(Limits(connections=50, head_s=10 * SOON_S)) as port, ExitStack() as opened:
        connections = []
        for number in range(2000):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SOON_S))
            connections.append(connection)
            if number % 2:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: local")
            if number % 500 == 0:
                assert _is_up(port)
        began_s = time.monotonic()
        assert _is_up(port)
        assert time.monotonic() - began_s < _HEALTH_S
        wait_until(lambda: sum(map(_has_hung_up, connections)) >= 2000 - 50)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: local",
        b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he",
    ],
)
def test_a_client_that_does_not_go_on_is_hung_up_on(sent: bytes) -> None:
    """Also one that sends a byte now and then: its time begins with the stage, not with the byte."""
    with _listening(Limits(connections=50, head_s=0.3, body_s=0.3)) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            if sent:
                connection.sendall(sent)
            while not _is_closed(connection):
                pass  # its first answer
        assert _is_up(port)


def test_whoever_hoards_connections_loses_his_own() -> None:
    hoarder, other = _Known("10.0.0.1"), _Known("10.0.0.2")
    door = Doorkeeper(Limits(connections=4))
    more = [_Known("10.0.0.1"), _Known("10.0.0.1")]
    for connection in (other, hoarder, *more):
        assert door.admit(connection)
        door.wait_for(connection)
    late = _Known("10.0.0.3")
    assert door.admit(late)
    assert (hoarder.is_cut, other.is_cut, door.open) == (True, False, 4)
    for connection in (other, late, *more):
        door.answer(connection)
    assert not door.admit(_Known("10.0.0.4"))


def test_an_address_has_a_limit_of_its_own_where_one_is_set() -> None:
    """Of what waits for its client the oldest goes; while all of the address is being answered, the next is refused."""
    door = Doorkeeper(Limits(connections=10, per_address=2))
    mine, others = [_Known("10.0.0.1") for _ in range(4)], [_Known("10.0.0.2") for _ in range(2)]
    for connection in (*mine[:2], *others):
        assert door.admit(connection)
        door.wait_for(connection)
    assert door.admit(mine[2])
    assert [connection.is_cut for connection in (*mine, *others)] == [True, False, False, False, False, False]
    door.answer(mine[1])
    assert not door.admit(mine[3]), "both of the address are being answered"
    door.forget(mine[1])
    door.forget(mine[1])
    assert door.admit(mine[3])
    assert door.open == 4


def test_while_all_are_being_answered_the_next_is_told_to_come_again() -> None:
    entered = threading.Semaphore(0)
    with _listening(Limits(connections=3), entered=entered) as port, ExitStack() as opened:
        for _ in range(3):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert entered.acquire(timeout=SOON_S)
        with socket.create_connection(("127.0.0.1", port), timeout=SOON_S) as connection:
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 5\r\n" in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head


def test_files_are_left_for_all_else(caplog: pytest.LogCaptureFixture) -> None:
    assert affordable_connections(1000, allow_files=lambda wanted: wanted) == 1000
    assert affordable_connections(1000, allow_files=lambda _: 1024) == 640
    assert "ulimit -n" in caplog.text
    assert affordable_connections(1000, allow_files=lambda _: 256) == 16


class _Known:
    """What a doorkeeper knows of a connection."""

    def __init__(self, address: str) -> None:
        self.address, self.is_cut = address, False

    @property
    def transport(self) -> "_Known":
        return self

    def abort(self) -> None:
        self.is_cut = True
