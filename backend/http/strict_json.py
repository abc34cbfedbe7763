"""Strict JSON: bounded before it is parsed, and large bodies parsed beside the event loop."""

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from backend.errors import BadInput, TooMuch, Unsupported
from backend.http.admission import Admission

_MOST_PARSED, _PARSED_AT_ONCE = (
    100,
    2,
)  # large bodies that wait, and that are parsed; parsing takes several times a body's size
_ESCAPED_HALF = re.compile(rb"\\u[dD]")
_SMALL_BYTES = 64 << 10  # parsed at once, in the event loop: a click's body
# This much takes 0.4 s to parse, in which nothing else runs, and some 200 MB. 10,000 tasks with a polygon apiece cost a
# tenth.
_MAX_COST = 4_000_000
MAX_DEPTH = 64  # Label Studio's bodies are some ten levels deep


class StrictRequest(Request):
    """A request whose JSON `parse_json` reads. FastAPI's own reader accepts NaN and hides why it refuses a body."""

    _json: Any = None

    async def json(self) -> Any:  # noqa: ANN401 - JSON is any
        """Return the value that `read_json` read."""
        return self._json

    async def read_json(self, parsing: Admission) -> None:
        """Read and check the body; a large body in a thread of `parsing`.

        Raises:
            Unsupported: the Content-Type is not JSON.
            BadInput, TooMuch: as `parse_json`.
            Busy: many large bodies are being parsed.
        """
        try:
            body = await self.body()
        except ClientDisconnect as fault:
            raise BadInput("the body did not arrive: the connection ended, or was too slow") from fault
        kind = self.headers.get("content-type", "")
        if len(body) <= _SMALL_BYTES:
            self._json = read_json(body, kind=kind)
        else:
            # Python's parser lets no other thread run, so only the bound on values keeps the loop free. Our own check
            # of the values does let other threads run.
            self._json = await parsing.run(lambda: read_json(body, kind=kind))


def strict_route() -> type[APIRoute]:
    """Return the class of routes that read bodies through StrictRequest and share threads for large bodies."""
    parsing = Admission(most=_MOST_PARSED, threads=_PARSED_AT_ONCE)

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def strict(request: Request) -> Response:
                strict_request = StrictRequest(request.scope, request.receive)
                if self.body_field is not None:
                    await strict_request.read_json(parsing)
                return await handler(strict_request)

            return strict

    return StrictRoute


def read_json(body: bytes, *, kind: str) -> Any:  # noqa: ANN401 - JSON is any
    """Parse a body whose Content-Type is `kind`.

    Raises:
        Unsupported: the Content-Type is not JSON.
        BadInput: as `parse_json`.
    """
    kind = kind.partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Unsupported(f"Content-Type {kind[:60]!r} is not supported: send application/json")
    return parse_json(body)


def parse_json(body: bytes, *, most: int = _MAX_COST) -> Any:  # noqa: ANN401 - JSON is any
    """Parse a JSON text of at most so many values.

    Raises:
        BadInput: the text is not JSON or not UTF-8, has NaN, an infinite number, an integer of thousands of digits or
            half a surrogate pair, or is nested too deep.
        TooMuch: the text has more values than the server can parse without delaying all other requests.
    """
    _check_cost(body, most=most)
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        if _ESCAPED_HALF.search(body):
            # Half a surrogate pair is not a character: neither an answer nor a file can encode it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"the body is not valid JSON: {str(fault)[:120]}") from fault
    _check_depth(value)
    return value


def _check_cost(body: bytes, *, most: int) -> None:
    """Estimate the values in a text before parsing: a list or an object costs as much as four numbers."""
    if len(body) <= most:
        return
    cost = sum(body.count(sign) for sign in (b",", b":")) + 4 * sum(body.count(sign) for sign in (b"[", b"{"))
    if cost > most:
        raise TooMuch(f"the body has some {cost} values, and at most {most} are allowed: send fewer tasks at once")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
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
