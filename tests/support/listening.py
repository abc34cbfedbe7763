"""A server in a thread of its own, on a socket that its test can see."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from support.waiting import wait_until

_END_S = 120.0


@dataclass(frozen=True)
class Listening:
    """A server that has started: the thread it runs in, and the socket it listens on."""

    thread: threading.Thread
    listener: socket.socket

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 on which it answers."""
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def listening(server: uvicorn.Server) -> Iterator[Listening]:
    """Run the server until the test leaves, or ends it by itself."""
    # With its protocol named: asyncio sets TCP_NODELAY on such sockets alone, and without it each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started, explain=lambda: "the server did not start")
            yield Listening(thread, listener)
        finally:
            server.should_exit = True
            thread.join(_END_S)
