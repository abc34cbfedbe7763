"""What every request passes before a route sees it: credentials, hosts, and a bounded body."""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import Busy, NotAuthorized, SamloopError, TooLarge, Unavailable, Unsupported
from backend.http.hosts import KnownHosts, check_sender
from backend.http.problems import problem_response

MAX_BODY_BYTES = 64 << 20  # a batch of 1,500 tasks with their predictions arrived as ONE request of 3.5 MB


class Guard:
    """ASGI middleware: refuses wrong credentials, foreign hosts, other sites' pages, and bodies that are too large.

    All of it before anything is read into memory. A request that the server's end cuts off is answered 503.

    Args:
        app: what is guarded.
        user: basic auth user; None lets everybody in (the server then listens on loopback only).
        password: its password.
        known: the hosts that browsers know us by.
        most_body_bytes: of all bodies together.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        user: str | None,
        password: str | None,
        known: KnownHosts,
        most_body_bytes: int = 4 * MAX_BODY_BYTES,
    ) -> None:
        self._app, self._known = app, known
        self._expected = credentials(user, password)
        self._budget = _BodyBudget(most_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 403, 413 or 415."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except SamloopError as refused:
            await problem_response(refused, is_read=False)(scope, receive, send)
            return
        body, is_begun = _BoundedBody(receive, self._budget), False

        async def noted(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, body.receive, noted)
        except asyncio.CancelledError:
            if not is_begun:  # else uvicorn would answer a bare 500
                ending = Unavailable("the server is stopping: try again when it is back")
                await problem_response(ending, is_read=False)(scope, receive, send)
            raise
        finally:
            body.end()

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        check_credentials(headers.get("authorization", "").encode("latin-1"), expected=self._expected)
        if self._expected is None:
            self._known.check(headers.get("host", ""))
        check_sender(scope["method"], headers, known=self._known)
        check_body_headers(dict(scope["headers"]))


def credentials(user: str | None, password: str | None) -> bytes | None:
    """What a client must name, as Basic auth encodes it; None where everybody may come in."""
    return f"{user}:{password}".encode() if user is not None else None


def check_credentials(header: bytes, *, expected: bytes | None) -> None:
    """Compare an `Authorization` header with `credentials()`.

    Raises:
        NotAuthorized: another kind of header, or other credentials.
    """
    if expected is None:
        return
    given = b""
    scheme, _, encoded = header[:4096].partition(b" ")
    if scheme.lower() == b"basic":
        try:
            given = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            given = b""
    # Constant time: the answer must not tell how many characters were right.
    if not hmac.compare_digest(given, expected):
        raise NotAuthorized(
            "credentials are missing or wrong: in Label Studio set the model's basic auth user and password "
            "to BASIC_AUTH_USER and BASIC_AUTH_PASS (`samloop connect` does it, for the webhook too)"
        )


def check_body_headers(headers: Mapping[bytes, bytes]) -> None:
    """Look at what a request says of its body, names in small letters, before any of it is read.

    Raises:
        Unsupported: it is compressed.
        TooLarge: it is above MAX_BODY_BYTES, or says nothing that can be understood.
    """
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise Unsupported(f"Content-Encoding {encoding.decode('latin-1')[:40]!r} is not read here: send the body plain")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY_BYTES:
        raise TooLarge(f"a body of {length.decode('latin-1')[:20]} bytes is above the limit of {MAX_BODY_BYTES}")


class _BodyBudget:
    """The bytes of all bodies that are on their way or being answered: whoever sends many large ones waits his turn."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0

    def take(self, count: int) -> None:
        """Raises Busy where they are more than the server should hold."""
        if self._held + count > self._most:
            raise Busy("the server holds as many bodies as it can: send this again in a moment", retry_after_s=5)
        self._held += count

    def give_back(self, count: int) -> None:
        """A request is over."""
        self._held -= count


class _BoundedBody:
    """One request's body, counted as it arrives: a chunked body has no Content-Length to check."""

    def __init__(self, receive: Receive, budget: _BodyBudget) -> None:
        self._receive, self._budget = receive, budget
        self._seen = 0

    async def receive(self) -> Message:
        """The next message. Raises TooLarge, Busy."""
        message = await self._receive()
        count = len(message.get("body", b""))
        if self._seen + count > MAX_BODY_BYTES:
            raise TooLarge(f"the body is above the limit of {MAX_BODY_BYTES} bytes")
        self._budget.take(count)
        self._seen += count
        return message

    def end(self) -> None:
        """The request is over."""
        self._budget.give_back(self._seen)
