"""What every request to a review page passes: its host, whose page sent it, errors as pages, and strict headers."""

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
    # No script and no style but the two files beside the pages: what a label or a file name holds stays text.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that a browser names no origin when it sends a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MAX_FORM_BYTES = 16 << 10
_MAX_FIELDS = 20

ErrorPage = Callable[[Request, SamloopError], Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Tells requests of our own pages from others'.

    Attributes:
        is_open: no credentials are asked for, so that hosts are checked.
        known: the hosts that browsers know us by.
    """

    is_open: bool
    known: KnownHosts

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Let it pass.

        Raises:
            ForeignPage: it is none of our own pages' requests.
        """
        if self.is_open:
            self.known.check(headers.get("host") or "no host")
        if method not in {"GET", "HEAD"} and not is_own_page(headers, known=self.known):
            raise ForeignPage("this request was not sent by one of these pages: open the page here, and send it again")


def page_route(gate: Gate, error_page: ErrorPage) -> type[APIRoute]:
    """The class of the pages' routes."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
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

            return guarded

    return PageRoute


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that comes twice, the last value.

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
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as fault:
        raise BadInput(f"the form cannot be read: {str(fault)[:100]}") from fault
    return dict(fields)
