"""What every request passes before a route sees it: credentials, a bounded body, strict JSON."""

import base64
import binascii
import hmac
import json
import math
import re
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import BadInput, ForeignPage, NotAuthorized, SamloopError, TooLarge, Unsupported
from backend.http.problems import problem_response

MAX_BODY_BYTES = 64 << 20  # a batch of 1,500 tasks with their predictions arrived as ONE request of 3.5 MB
_ESCAPED_HALF = re.compile(rb"\\u[dD]")
MAX_DEPTH = 64  # Label Studio's bodies are some ten levels deep


class Guard:
    """ASGI middleware: refuses wrong credentials, requests of other sites' pages, and bodies that are too large.

    All of it before anything is read into memory.

    Args:
        app: what is guarded.
        user: basic auth user; None lets everybody in (the server then listens on loopback only).
        password: its password.
        known_hosts: the names of SAMLOOP_BACKEND_URL and _PUBLIC_URL, which a proxy may have taken out of a request.
    """

    def __init__(
        self, app: ASGIApp, *, user: str | None, password: str | None, known_hosts: Collection[str] = ()
    ) -> None:
        self._app, self._known_hosts = app, known_hosts
        self._expected = credentials(user, password)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, 403, 413 or 415."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            check_credentials(headers.get(b"authorization", b""), expected=self._expected)
            check_sender(scope["method"], Headers(scope=scope), known_hosts=self._known_hosts)
            check_body_headers(headers)
        except SamloopError as refused:
            await problem_response(refused, is_read=False)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)


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


def check_sender(method: str, headers: Mapping[str, str], *, known_hosts: Collection[str]) -> None:
    """Refuse what another site's page makes a browser send: it comes with what the browser knows, or needs nothing.

    Programs, Label Studio among them, tell nothing of a page and pass.

    Raises:
        ForeignPage: another site's page sent a request that changes something.
    """
    if method not in {"GET", "HEAD", "OPTIONS"} and is_own_page(headers, known_hosts=known_hosts) is False:
        raise ForeignPage("this request was not sent by one of these pages: open the page here, and send it again")


def is_own_page(headers: Mapping[str, str], *, known_hosts: Collection[str]) -> bool | None:
    """By what browsers tell of every form and script, and no page can change; None where no page is told of."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return None if site == "none" else site == "same-origin"
    if (origin := headers.get("origin")) is None:
        return None
    _, _, netloc = origin.partition("://")
    return bool(netloc) and (netloc == headers.get("host", "") or host_name(netloc) in known_hosts)


def host_name(host: str) -> str:
    """A `Host` without its port, in small letters; "" for what is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


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


def _bounded(receive: Receive) -> Receive:
    """Counts what arrives: a chunked body has no Content-Length to check."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise TooLarge(f"the body is above the limit of {MAX_BODY_BYTES} bytes")
        return message

    return counted


class StrictRequest(Request):
    """A request whose JSON was read by `parse_json`; FastAPI's own reader takes NaN and hides why a body is refused."""

    _json: Any = None

    async def json(self) -> Any:  # noqa: ANN401 - JSON is any
        """What `read_json` read."""
        return self._json

    async def read_json(self) -> None:
        """Read and check the body.

        Raises:
            Unsupported: a body that does not say it is JSON.
            BadInput: as `parse_json`.
        """
        self._json = read_json(await self.body(), kind=self.headers.get("content-type", ""))


class StrictRoute(APIRoute):
    """A route that reads its body through StrictRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a StrictRequest."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            strict_request = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                await strict_request.read_json()
            return await handler(strict_request)

        return strict


def read_json(body: bytes, *, kind: str) -> Any:  # noqa: ANN401 - JSON is any
    """The value of a body whose Content-Type is `kind`.

    Raises:
        Unsupported: a body that does not say it is JSON.
        BadInput: as `parse_json`.
    """
    kind = kind.partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Unsupported(f"Content-Type {kind[:60]!r} is not read here: send application/json")
    return parse_json(body)


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is any
    """The value of a JSON text.

    Raises:
        BadInput: no JSON, not UTF-8, NaN or an infinite number, an integer of thousands of digits, half a character,
            nested too deep.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        if _ESCAPED_HALF.search(body):
            # Half of a pair is no character: neither an answer nor a file can hold it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"the body is no JSON that is read here: {str(fault)[:120]}") from fault
    _check_depth(value)
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise BadInput(f"the body is nested deeper than {MAX_DEPTH} levels")
