"""A download keeps its bounds against servers that trickle, lie, flood, compress or hang."""

import socket
import threading
import time
from collections.abc import Callable

import pytest
from fakes.raw_server import raw_server

from backend.errors import BadInput, Upstream
from backend.net.download import download


def says(raw: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(raw)


def get(url: str, *, max_bytes: int = 1000, seconds: float = 5.0, address: str | None = None) -> bytes:
    return download(url, max_bytes=max_bytes, until_s=time.monotonic() + seconds, address=address).body


def stay_silent(connection: socket.socket) -> None:
    """Read until the client gives up."""
    while connection.recv(4096):
        pass


def trickle(head: bytes, *, pause_s: float = 0.05) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(pause_s)

    return talk


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
def test_a_body_comes_whole_however_it_is_framed(raw: bytes) -> None:
    with raw_server(says(raw)) as url:
        assert get(url) == b"hello"


def test_the_checked_address_is_connected_to_and_not_the_name() -> None:
    """A name may point elsewhere by now; this one points nowhere at all."""
    with raw_server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as url:
        assert get(url.replace("127.0.0.1", "nowhere.invalid"), address="127.0.0.1") == b"ok"


def test_the_request_names_the_host_and_asks_for_no_compression() -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n")

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    url = f"http://images.example:{port}/ä b.png?q=ü%20".replace(" ", "%20")
    reply = download(url, max_bytes=9, until_s=time.monotonic() + 60, address="127.0.0.1")
    thread.join(60)
    listener.close()
    assert reply.status == 404
    assert heard[0].startswith(b"GET /%C3%A4%20b.png?q=%C3%BC%20 HTTP/1.1\r\n")
    assert f"Host: images.example:{port}\r\n".encode() in heard[0]
    assert b"Accept-Encoding: identity" in heard[0]
    assert b"Authorization" not in heard[0]


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b""],
)
def test_a_byte_now_and_then_runs_into_the_time_limit(head: bytes) -> None:
    """Each byte comes well within a socket's time-out: only a limit on the whole catches it."""
    began = time.monotonic()
    with (
        raw_server(trickle(head)) as url,
        pytest.raises(Upstream, match="took longer than SAMLOOP_IMAGE_SECONDS allow"),
    ):
        get(url, seconds=0.4)
    assert time.monotonic() - began < 60


def test_a_location_without_a_redirect_is_no_redirect() -> None:
    raw = b"HTTP/1.1 404 Not Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with raw_server(says(raw)) as url:
        assert download(url, max_bytes=9, until_s=time.monotonic() + 5).location is None


def test_a_server_that_says_nothing_runs_into_the_time_limit() -> None:
    with raw_server(stay_silent) as url, pytest.raises(Upstream, match="took longer"):
        get(url, seconds=0.3)


def test_no_time_left_is_no_request() -> None:
    with pytest.raises(Upstream, match="took longer"):
        get("http://127.0.0.1:9/", seconds=-1.0)


def test_a_flood_is_cut_at_the_limit() -> None:
    sent: list[int] = []

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    with raw_server(flood) as url, pytest.raises(BadInput, match="more than 100000 bytes; SAMLOOP_IMAGE_MIB"):
        get(url, max_bytes=100_000)
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", "more than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "sent 5 bytes although it had announced 50"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "compressed body"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhe\r\n", "did not answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "did not answer"),
        (b"SSH-2.0-OpenSSH\r\n", "did not answer"),
        (b"", "did not answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", "did not answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "did not answer"),
    ],
)
def test_a_server_that_lies_or_babbles_is_an_upstream_error(raw: bytes, complaint: str) -> None:
    with raw_server(says(raw)) as url, pytest.raises((Upstream, BadInput), match=complaint):
        get(url)


def test_a_closed_port_is_an_upstream_error() -> None:
    with pytest.raises(Upstream, match=r"127\.0\.0\.1 did not answer"):
        get("http://127.0.0.1:9/")


def test_plain_http_where_tls_is_expected_is_an_upstream_error() -> None:
    with raw_server(says(b"HTTP/1.1 200 OK\r\n\r\n")) as url, pytest.raises(Upstream, match="did not answer"):
        get(url.replace("http://", "https://"))


def test_a_tls_handshake_that_stalls_runs_into_the_time_limit() -> None:
    with raw_server(stay_silent) as url, pytest.raises(Upstream, match="took longer"):
        get(url.replace("http://", "https://"), seconds=0.3)


def test_a_redirect_is_returned_and_not_followed() -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with raw_server(says(raw)) as url:
        reply = download(url, max_bytes=9, until_s=time.monotonic() + 5)
    assert (reply.status, reply.location, reply.body) == (302, "http://127.0.0.1:9/", b"")
