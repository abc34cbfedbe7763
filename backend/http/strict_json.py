"""JSON as it is read here: strict, bounded before it is parsed, and large bodies beside the event loop."""

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

_MOST_PARSED, _PARSED_AT_ONCE = 100, 2  # large bodies that wait or are parsed; a body takes several times its size
_ESCAPED_HALF = re.compile(rb"\\u[dD]")
_SMALL_BYTES = 64 << 10  # read at once, in the event loop: a click's body
# .4 s of parsing, in which nothing else runs, and some 200 MB; 10,000 polygons of as many tasks are a tenth of it.
_MAX_COST = 4_000_000
MAX_DEPTH = 64  # Label Studio's bodies are some ten levels deep


class StrictRequest(Request):
    """A request whose JSON was read by `parse_json`; FastAPI's own reader takes NaN and hides why a body is refused."""

    _json: Any = None

    async def json(self) -> Any:  # noqa: ANN401 - JSON is any
        """What `read_json` read."""
        return self._json

    async def read_json(self, parsing: Admission) -> None:
        """Read and check the body; a large one in one of the threads of `parsing`.

        Raises:
            Unsupported: a body that does not say it is JSON.
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
            # Python lets no other thread run while it parses, so that the bound on values is what keeps the loop free;
            # checking what came out is ours, and lets others run.
            self._json = await parsing.run(lambda: read_json(body, kind=kind))


def strict_route() -> type[APIRoute]:
    """The class of routes that read their bodies through StrictRequest; they share threads for large bodies."""
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
        TooMuch: more values than the server can read without holding up everybody else.
    """
    _check_cost(body)
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        if _ESCAPED_HALF.search(body):
            # Half of a pair is no character: neither an answer nor a file can hold it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as fault:
        raise BadInput(f"the body is no JSON that is read here: {str(fault)[:120]}") from fault
    _check_depth(value)
    return value


def _check_cost(body: bytes) -> None:
    """Estimate the values in a text before it is read: a list or an object costs as much as four numbers."""
    if len(body) <= _MAX_COST:
        return
    cost = sum(body.count(sign) for sign in (b",", b":")) + 4 * sum(body.count(sign) for sign in (b"[", b"{"))
    if cost > _MAX_COST:
        raise TooMuch(f"the body holds some {cost} values, and {_MAX_COST} are the most: send fewer tasks at once")


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
