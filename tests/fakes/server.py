"""The plumbing of a fake HTTP service: a real server on loopback, routes by pattern, faults on demand."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What arrived: `query` holds lists, `headers` small letters."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def number(self, name: str) -> int | None:
        return int(self.query[name][0]) if name in self.query else None


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    prefix: str
    status: int
    body: Any
    headers: dict[str, str]
    left: int


Handler = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], str]] = []


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern), handler.__name__))
        return handler

    return register


class FakeServer:
    """A context manager; `.url`, and `.requests`, all that arrived. A subclass answers. It listens on `address`."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._delays: dict[str, float] = {}
        self._server = ThreadingHTTPServer((address, 0), _handler_of(self))
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://{address}:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, prefix: str, *, status: int = 500, body: Any = None, times: int = 1, **headers: str) -> None:
        """Answer the next `times` requests whose path begins with `prefix` so; bytes are sent as they are."""
        self._faults.append(Fault(prefix, status, body, headers, times))

    def delay(self, prefix: str, *, seconds: float) -> None:
        """Answer what begins with `prefix` so much later, from now on."""
        self._delays[prefix] = seconds

    def answer(self, request: Request) -> Answer:
        """What a request gets where no fault is due."""
        raise NotImplementedError

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        time.sleep(
            max((seconds for prefix, seconds in self._delays.items() if request.path.startswith(prefix)), default=0)
        )
        for fault in self._faults:
            if fault.left and request.path.startswith(fault.prefix):
                fault.left -= 1
                return Answer(fault.status, fault.body, fault.headers)
        return self.answer(request)

    def _routed(self, request: Request) -> Answer:
        """The answer of the method whose route fits; a LookupError there is a 404."""
        for method, pattern, name in ROUTES:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                try:
                    handler: Handler = getattr(self, name)
                    return handler(request, *[int(group) for group in match.groups()])
                except LookupError:
                    return Answer(404, {"status_code": 404, "detail": "Not found."})
        return Answer(404, b"<!doctype html><title>404</title>", {"Content-Type": "text/html"})


def _handler_of(service: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Serve(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body would wait 40 ms for the acknowledgement of the head

        def log_message(self, *_: object) -> None:
            return

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                self.command,
                unquote(parts.path),
                parse_qs(parts.query),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            answer = service._answer(request)
            raw = answer.body
            if not isinstance(raw, bytes):
                raw = b"" if raw is None else json.dumps(raw).encode()
            self.send_response(answer.status)
            told = {"Content-Length": str(len(raw))} | answer.headers
            if not isinstance(answer.body, bytes):
                told.setdefault("Content-Type", "application/json")
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = _serve

    return Serve
