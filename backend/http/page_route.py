"""Checks requests to review pages (host, sending page), shows errors as pages, and adds strict headers."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from backend.errors import BadInput, ForeignPage, SamloopError, TooLarge
from backend.http.hosts import KnownHosts, is_own_page
from backend.http.problems import invalid, problem_headers

HEADERS = {
    # Only the script and style files beside the pages: the content of a label or file name stays text.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that a browser sends a form without its origin.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MAX_FORM_BYTES = 16 << 10
_MAX_FIELDS = 20

ErrorPage = Callable[[Request, SamloopError], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Separates requests from our own pages from all others.

    Attributes:
        is_open: whether the server has no credentials, so that it must check hosts.
        known: the hosts under which browsers know us.
    """

    is_open: bool
    known: KnownHosts

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Let a request from one of our own pages pass.

        Raises:
            ForeignPage: the request came from elsewhere.
        """
        if self.is_open:
            self.known.check(headers.get("host") or "no host")
        if method not in {"GET", "HEAD"} and not is_own_page(headers, known=self.known):
            raise ForeignPage(
                "this request did not come from one of samloop's own pages: open the page here, and send it again"
            )


def page_route(gate: Gate, error_page: ErrorPage) -> type[APIRoute]:
    """Return the class of the pages' routes."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guard(request: Request) -> Response:
                try:
                    gate.check(request.method, request.headers)
                    response = await handler(request)
                except (RequestValidationError, SamloopError) as error:
                    problem = invalid(error) if isinstance(error, RequestValidationError) else error
                    response = error_page(request, problem)
                    response.headers.update(problem_headers(problem))
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                return response

            return guard

    return PageRoute


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that comes twice, the last value.

    Raises:
        BadInput, TooLarge: as read_fields.
    """
    return dict(await read_fields(request, most=_MAX_FIELDS))


async def read_fields(request: Request, *, most: int) -> list[tuple[str, str]]:
    """Names and values of a form, in its order, `most` at most.

    Raises:
        BadInput: it is no form, has too many fields, or is no UTF-8.
        TooLarge: it is above 16 KiB.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadInput(f"Content-Type {kind[:60]!r} is no form: send application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM_BYTES:
            raise TooLarge(f"a form of more than {_MAX_FORM_BYTES} bytes is not read here")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=most, errors="strict")
    except (ValueError, UnicodeDecodeError) as fault:
        raise BadInput(f"the form cannot be read: {str(fault)[:100]}") from fault
