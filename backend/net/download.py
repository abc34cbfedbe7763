"""One HTTP GET with the limits that a stranger's server calls for: address, time, bytes. It follows no redirect."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from backend.errors import BadInput, Upstream

_PIECE = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body (empty unless 200), and a redirect's target. `kind` is the content type without parameters."""

    status: int
    body: bytes
    location: str | None
    kind: str


def download(
    url: str, *, max_bytes: int, until_s: float, address: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """GET one http(s) URL: at most `max_bytes`, before `time.monotonic()` reaches `until_s`.

    Args:
        url: without user-info. TLS and the `Host` header use its host name.
        max_bytes: the largest body allowed, bytes.
        until_s: when to give up, even in the middle of a header that trickles in.
        address: the IP address to connect to. Connecting by name would resolve it again, and a name may point to a
            public address during the check and to loopback during the connection.
        headers: more headers to send.

    Raises:
        BadInput: the body is larger than `max_bytes`.
        Upstream: the server does not connect or does not speak HTTP, compresses unasked, sends less than its
            Content-Length, or is too slow.
    """
    parts = urlsplit(url)
    host, left_s = parts.hostname or "", until_s - time.monotonic()
    if left_s <= 0:
        raise Upstream(_say_too_slow(host))
    connection = _Connection(host, parts.port, address=address, secure=parts.scheme == "https", timeout_s=left_s)
    watchdog = threading.Timer(left_s, connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("GET", _request_target(parts), headers=_HEADERS | dict(headers or {}))
        reply = _read(connection.getresponse(), max_bytes=max_bytes, host=host)
    except (OSError, http.client.HTTPException, ValueError, Upstream) as fault:
        # http.client raises ValueError for control characters, and for a chunk length that is not a number.
        if connection.aborted or isinstance(fault, TimeoutError):
            raise Upstream(_say_too_slow(host)) from fault
        if isinstance(fault, Upstream):
            raise
        raise Upstream(f"{host} did not answer ({type(fault).__name__})") from fault
    finally:
        watchdog.cancel()
        connection.close()
    if connection.aborted:
        # A connection that was cut reads like a body that ended: the bytes may be only a part.
        raise Upstream(_say_too_slow(host))
    return reply


_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "samloop"}
_PLAIN = "/%:@!$&'()*+,;=~-._"


def _request_target(parts: SplitResult) -> str:
    """Return path and query for the request line. Encoded characters stay encoded."""
    query = f"?{quote(parts.query, safe=_PLAIN + '?')}" if parts.query else ""
    return quote(parts.path or "/", safe=_PLAIN) + query


def _say_too_slow(host: str) -> str:
    return f"{host} took longer than SAMLOOP_IMAGE_SECONDS allows"


def _read(response: http.client.HTTPResponse, *, max_bytes: int, host: str) -> Reply:
    kind = (response.headers.get("Content-Type") or "").split(";")[0].strip().lower()
    if response.status != http.HTTPStatus.OK:
        location = response.headers.get("Location") if response.status in _REDIRECTS else None
        return Reply(response.status, b"", location, kind)
    if (response.headers.get("Content-Encoding") or "identity").lower() != "identity":
        raise Upstream(f"{host} sent a compressed body although we did not ask for compression")
    announced = response.length
    if announced is not None and announced > max_bytes:
        raise BadInput(_say_too_large(host, max_bytes))
    body = bytearray()
    while piece := response.read1(_PIECE):
        body += piece
        if len(body) > max_bytes:
            raise BadInput(_say_too_large(host, max_bytes))
    if announced is not None and len(body) < announced:
        raise Upstream(f"{host} sent {len(body)} bytes although it had announced {announced}")
    return Reply(response.status, bytes(body), None, kind)


def _say_too_large(host: str, max_bytes: int) -> str:
    return f"the image at {host} has more than {max_bytes} bytes; SAMLOOP_IMAGE_MIB raises the limit"


class _Connection(http.client.HTTPConnection):
    """A connection to a fixed address that another thread can cut, even during the TLS handshake."""

    def __init__(self, host: str, port: int | None, *, address: str | None, secure: bool, timeout_s: float) -> None:
        super().__init__(host, port or (443 if secure else 80), timeout=timeout_s)
        self._address, self._secure = address, secure
        # http.client drops its socket once it knows that the server will close; abort() still needs it.
        self._held: socket.socket | None = None
        self.aborted = False

    def connect(self) -> None:
        self._hold(socket.create_connection((self._address or self.host, self.port), self.timeout))
        if self._secure:
            context = ssl.create_default_context()
            context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
            secured = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self._hold(secured)
            secured.do_handshake()

    def _hold(self, sock: socket.socket) -> None:
        self.sock = self._held = sock
        if self.aborted:
            raise TimeoutError

    def abort(self) -> None:
        self.aborted = True
        if self._held is not None:
            with suppress(OSError):
                # Not SSLSocket's own shutdown, which drops the session while the reader still uses it.
                socket.socket.shutdown(self._held, socket.SHUT_RDWR)
