"""Bad inputs 1 to 11: where an image may not come from. The number is the one in the list of thirty."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.raw_server import raw_server
from fakes.served import Served, data_uri, picture, refused
from fakes.server import Answer, FakeServer, Request


class Web(FakeServer):
    """Somebody's web server: every path is one picture."""

    def answer(self, request: Request) -> Answer:
        return Answer(200, picture())


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def rooted(serve: Callable[..., Any], tmp_path: Path) -> Iterator[Served]:
    """A server that reads local files itself, below a folder that holds an image and a link to /etc."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(picture())
    (tmp_path / "images" / "etc").symlink_to("/etc")
    (tmp_path / "server").mkdir()
    with serve(tmp_path / "server", local_files_root=(tmp_path / "images",)) as served:
        assert served.click("/data/local-files/?d=a.png").ok
        yield served


@pytest.fixture
def hosted(serve: Callable[..., Any], tmp_path: Path, web: Web) -> Iterator[Served]:
    """A server whose user named one host of images."""
    with serve(tmp_path, image_hosts=(f"127.0.0.1:{web.port}", "rebind.example"), image_seconds=1.0) as served:
        assert served.click(f"{web.url}/a.png").ok
        yield served


def test_01_a_local_file_above_the_root(server: Served, rooted: Served) -> None:
    for backend in (server, rooted):
        with backend.unharmed():
            refused(backend.click("/data/local-files/?d=../../etc/passwd"), "climbs out of its folder", status=403)


def test_02_a_local_file_where_no_root_is_set(server: Served) -> None:
    """It is Label Studio's to serve, with its own rules, and no file of ours."""
    with server.unharmed():
        refused(server.click("/data/local-files/?d=etc/passwd"), "Label Studio has no /data/local-files/", status=404)


@pytest.mark.parametrize("path", ["%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fetc%252fpasswd", "..%2f..%2fetc/passwd"])
def test_03_dots_encoded_once_and_twice(server: Served, rooted: Served, path: str) -> None:
    for backend in (server, rooted):
        with backend.unharmed():
            refused(backend.click(f"/data/local-files/?d={path}"), "climbs out of its folder", status=403)


def test_04_a_link_in_the_root_that_leads_out(rooted: Served) -> None:
    with rooted.unharmed():
        refused(rooted.click("/data/local-files/?d=etc/passwd"), "leads out of", status=403)


@pytest.mark.parametrize(
    ("query", "says", "status"),
    [
        ("d=a.png&d=b.png", "needs exactly one d=path, and this address has 2", 400),
        ("d=a%00.png", "climbs", 403),
        ("d=a\0.png", "climbs", 403),
        ("d=..\\..\\etc\\passwd", "climbs", 403),
        ("d=..%5cetc", "climbs", 403),
        ("d=C:%5Cetc%5Cpasswd", "there is no file", 404),
        ("d=//nowhere/passwd", "there is no file 'nowhere/passwd'", 404),
        ("d=", "needs exactly one d=path", 400),
    ],
)
def test_05_two_paths_nul_and_backslashes(rooted: Served, query: str, says: str, status: int) -> None:
    with rooted.unharmed():
        refused(rooted.click(f"/data/local-files/?{query}"), says, status=status)


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "ftp://example.org/a.png", "gopher://example.org/a", "jar:x"])
def test_06_another_scheme(server: Served, uri: str) -> None:
    with server.unharmed():
        refused(server.click(uri), "images may come by http or https", status=403)


def test_06_a_data_uri_of_a_gigabyte(server: Served) -> None:
    with server.unharmed(mib=16):
        refused(server.announce("/predict", **{"Content-Length": str(1 << 30)}), "above the limit", status=413)
    large = server.body("data:image/png;base64," + "A" * (20 << 20))
    with server.unharmed(mib=200):  # this process holds the request several times: sent, received, read
        refused(server.post("/predict", large), "more than 4194304 bytes; SAMLOOP_IMAGE_MIB raises the limit")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:127.0.0.1]/a",
        "http://2130706433/a",
        "http://0/a",
        "http://127.0.0.1:1/a",
        "http://[::1]/a",
        "http://0x7f.1/a",
        "http://10.0.0.1/a",
        "http://localhost/a",
        "//169.254.169.254/a",
        "http:\\\\169.254.169.254\\a",
        "http:/127.0.0.1/a",
    ],
)
def test_07_private_addresses_however_written(server: Served, url: str) -> None:
    with server.unharmed(seconds=5):
        refused(server.click(url), "is not a public address", status=403)


def test_08_a_redirect_to_loopback(hosted: Served, web: Web, server: Served) -> None:
    for elsewhere in (f"{server.url}/health", "http://169.254.169.254/latest", "file:///etc/passwd"):
        web.fail("/evil.png", status=302, Location=elsewhere)
        with hosted.unharmed():
            answer = hosted.click(f"{web.url}/evil.png")
            refused(answer, "http or https" if "file" in elsewhere else "is not a public address", status=403)


def test_09_a_name_that_is_public_and_then_loopback(hosted: Served, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is connected to; the name is not looked up again."""
    looked_up, real = [], socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *args, **named)
        looked_up.append(host)
        address = "198.51.100.1" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    arrived = len(web.requests)
    with hosted.unharmed():
        refused(hosted.click(f"http://rebind.example:{web.port}/a.png"), "rebind.example", status=424)
    assert looked_up == ["rebind.example"]
    assert len(web.requests) == arrived


def slowly(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.1)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(150_000):
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize(
    ("talk", "says", "status"),
    [
        (slowly, "took longer than SAMLOOP_IMAGE_SECONDS", 424),
        (flood, "more than 4194304 bytes", 400),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"), "more than 4194304", 400),
        (
            lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"),
            "sent 5 bytes although it had announced 50",
            424,
        ),
        (
            lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + picture()[:9]),
            "not a readable PNG",
            422,
        ),
    ],
)
def test_10_a_server_that_trickles_floods_or_lies(
    serve: Callable[..., Any], tmp_path: Path, talk: Callable[[socket.socket], None], says: str, status: int
) -> None:
    with (
        raw_server(talk) as url,
        serve(tmp_path, image_hosts=("127.0.0.1",), image_seconds=1.0, image_mib=4) as served,
    ):
        served.click(data_uri(picture()))
        with served.unharmed(seconds=5, mib=48):
            refused(served.click(url), says, status=status)


def test_11_label_studios_host_with_another_port_or_user_info(server: Served, web: Web) -> None:
    """Its key goes to it alone."""
    host = f"127.0.0.1:{server.studio.port}"
    with server.unharmed():
        refused(server.click(f"{web.url}/data/upload/1/a.png"), "is not a public address", status=403)
        for url in (f"http://user:pw@{host}/data/upload/1/a.png", f"http://{host}@evil.example/data/upload/1/a.png"):
            refused(server.click(url), "user name or password", status=403)
    assert web.requests == []
