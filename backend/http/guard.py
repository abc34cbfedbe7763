"""Checks every request before a route sees it: credentials, hosts, and the size of its body."""

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

MAX_BODY_BYTES = 64 << 20  # Label Studio sent 1,500 tasks with their predictions in ONE request of 3.5 MB


class Guard:
    """ASGI middleware: refuses wrong credentials, foreign hosts, other sites' pages, and bodies that are too large.

    It checks before it reads anything into memory. A request that the server's shutdown interrupts gets a 503.

    Args:
        app: the application to guard.
        user: Basic auth user; None admits everybody (the server then listens on loopback only).
        password: its password.
        known: the hosts under which browsers know us.
        most_body_bytes: the limit for all bodies together, bytes.
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

        async def note(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, body.receive, note)
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
    """Return the Authorization header that clients must send; None where everybody is admitted."""
    return f"{user}:{password}".encode() if user is not None else None


def check_credentials(header: bytes, *, expected: bytes | None) -> None:
    """Compare an `Authorization` header with `credentials()`.

    Raises:
        NotAuthorized: the header is of another kind, or has other credentials.
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
    # In constant time: the timing must not reveal how many characters were right.
    if not hmac.compare_digest(given, expected):
        raise NotAuthorized(
            "credentials are missing or wrong: in Label Studio set the model's basic auth user and password "
            "to BASIC_AUTH_USER and BASIC_AUTH_PASS (`samloop connect` does it, for the webhook too)"
        )


def check_body_headers(headers: Mapping[bytes, bytes]) -> None:
    """Check a request's headers, their names in lower case, before its body is read.

    Raises:
        Unsupported: the body is compressed.
        TooLarge: the body is larger than MAX_BODY_BYTES, or its length is not a number.
    """
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise Unsupported(
            f"Content-Encoding {encoding.decode('latin-1')[:40]!r} is not supported: send the body uncompressed"
        )
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY_BYTES:
        raise TooLarge(f"a body of {length.decode('latin-1')[:20]} bytes is above the limit of {MAX_BODY_BYTES}")


class _BodyBudget:
    """Limits the bytes of all bodies in flight: a client that sends many large bodies must wait."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0

    def take(self, count: int) -> None:
        """Take so many bytes; raise Busy where the server would hold too many."""
        if self._held + count > self._most:
            raise Busy("the server holds as many request bodies as it can: try again in a moment", retry_after_s=5)
        self._held += count

    def give_back(self, count: int) -> None:
        """Give back the bytes of a request that has ended."""
        self._held -= count


class _BoundedBody:
    """One request's body, counted as it arrives: a chunked body has no Content-Length to check."""

    def __init__(self, receive: Receive, budget: _BodyBudget) -> None:
        self._receive, self._budget = receive, budget
        self._seen = 0

    async def receive(self) -> Message:
        """Return the next message. Raises TooLarge, Busy."""
        message = await self._receive()
        count = len(message.get("body", b""))
        if self._seen + count > MAX_BODY_BYTES:
            raise TooLarge(f"the body is above the limit of {MAX_BODY_BYTES} bytes")
        self._budget.take(count)
        self._seen += count
        return message

    def end(self) -> None:
        """End the request."""
        self._budget.give_back(self._seen)
