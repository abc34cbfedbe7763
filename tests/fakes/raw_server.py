"""A server of bytes: it reads a request and then says, or does not say, whatever a test likes."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """One raw server on loopback, an image's URL there; `talk` gets each connection after its request was read."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                try:
                    connection.settimeout(2)
                    connection.recv(65536)
                    talk(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
    finally:
        stop.set()
        thread.join(120)
        listener.close()
