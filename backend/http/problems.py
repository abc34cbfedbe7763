"""Turns an error into a status, headers and a sentence, by the same rule for every server."""

import json
import logging
from collections.abc import Mapping, Sequence

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from backend.errors import BadInput, NotAuthorized, SamloopError, TooLarge, Unavailable

log = logging.getLogger(__name__)
# Otherwise the server would receive and discard the rest of an unread body for as long as the client sends.
CLOSE: Mapping[str, str] = {"Connection": "close"}


def problem_of(error: Exception, *, request: str) -> SamloopError:
    """Return the error as one of ours. For a bug, the client only learns to look at the log, which has the traceback.

    Args:
        error: what a handler raised.
        request: the request, for the log: "POST /predict".
    """
    if isinstance(error, SamloopError):
        return error
    if isinstance(error, RequestValidationError | ValidationError):
        return invalid(error)
    log.error("%s failed", request, exc_info=error, extra={"event": "request.failed"})
    return failure()


def invalid(error: RequestValidationError | ValidationError, *, within: Sequence[str] = ()) -> BadInput:
    """Return the first fault in a request's values: its place, and the rule that it breaks.

    Args:
        error: pydantic's or FastAPI's error.
        within: the place of the values, for an error that names only the place inside them: `("body",)`.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*within, *first["loc"]))
    return BadInput(f"{where}: {first['msg']}")


def failure() -> SamloopError:
    """Return the answer to a request that hit a bug."""
    return SamloopError("samloop hit a bug: the server's log has the traceback")


def problem_headers(error: SamloopError) -> dict[str, str]:
    """Return the headers of any answer to this error."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == NotAuthorized.status:  # KeyRefused does not concern the caller's credentials
        headers["WWW-Authenticate"] = 'Basic realm="samloop"'
    if isinstance(error, TooLarge):
        headers.update(CLOSE)
    return headers


def problem_response(error: SamloopError, *, is_read: bool = True) -> Response:
    """Return one sentence as JSON, `{"error": "..."}`, with the status of the error's class.

    Args:
        error: the error to report.
        is_read: whether the request's body was read; if not, the connection is closed.
    """
    return Response(
        json.dumps({"error": str(error)}),
        status_code=error.status,
        media_type="application/json",
        headers={**problem_headers(error), **(CLOSE if not is_read else {})},
    )
