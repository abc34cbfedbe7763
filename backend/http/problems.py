"""From an error to what a client is told: a status, headers and one sentence, by the same rule for every front."""

import json
import logging
from collections.abc import Mapping, Sequence

from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from backend.errors import BadInput, NotAuthorized, SamloopError, TooLarge, Unavailable

log = logging.getLogger(__name__)
# The rest of a body that is not read would else be received, and thrown away, for as long as somebody sends.
CLOSE: Mapping[str, str] = {"Connection": "close"}


def problem_of(error: Exception, *, request: str) -> SamloopError:
    """The error as one of ours. Of a bug, a client is told nothing but where to look: the log has the traceback.

    Args:
        error: what a handler raised.
        request: what was asked for, for the log: "POST /predict".
    """
    if isinstance(error, SamloopError):
        return error
    if isinstance(error, RequestValidationError | ValidationError):
        return invalid(error)
    log.error("%s failed", request, exc_info=error, extra={"event": "request.failed"})
    return failure()


def invalid(error: RequestValidationError | ValidationError, *, within: Sequence[str] = ()) -> BadInput:
    """The first thing that is wrong with a request's values: where it stands, and the rule that it breaks.

    Args:
        error: what pydantic or FastAPI found.
        within: where the values stand, for an error that names only the place inside them: `("body",)`.
    """
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*within, *first["loc"]))
    return BadInput(f"{where}: {first['msg']}")


def failure() -> SamloopError:
    """What a client is told of a bug."""
    return SamloopError("something went wrong here: the server's log has the traceback")


def problem_headers(error: SamloopError) -> dict[str, str]:
    """The headers that an answer to this error carries, whatever its body is."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == NotAuthorized.status:  # KeyRefused is no matter of the caller's credentials
        headers["WWW-Authenticate"] = 'Basic realm="samloop"'
    if isinstance(error, TooLarge):
        headers.update(CLOSE)
    return headers


def problem_response(error: SamloopError, *, is_read: bool = True) -> Response:
    """One sentence as JSON, `{"error": "..."}`, with the status of the error's class.

    Args:
        error: what to tell.
        is_read: whether the request's body was read; where it was not, the connection is closed.
    """
    return Response(
        json.dumps({"error": str(error)}),
        status_code=error.status,
        media_type="application/json",
        headers={**problem_headers(error), **(CLOSE if not is_read else {})},
    )
