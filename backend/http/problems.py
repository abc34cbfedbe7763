"""Turns an error into a status, headers and a sentence, by the same rule for every server."""

import json
import logging
from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.errors import BadInput, NotAuthorized, NotFound, SamloopError, TooLarge, Unavailable

log = logging.getLogger(__name__)
# Otherwise the server would receive and discard the rest of an unread body for as long as the client sends.
CLOSE: Mapping[str, str] = {"Connection": "close"}

_MEANINGS = {
    400: "A value in the request cannot be used",
    401: "Credentials are missing or wrong",
    403: "Another site's page sent the request, it came under a foreign host, or the URL policy refuses an address",
    404: "There is no such project, image or job",
    409: "The registry holds something for this project that cannot be read",
    413: "The body is too large, or asks for too much at once",
    415: "The body is compressed, or is not JSON",
    422: "The image cannot be read, or has too many pixels",
    424: "Label Studio, or the host of an image, failed",
    500: "A bug; the server's log has the traceback",
    503: "The queue, registry or model cannot be reached, or too many wait: try again after Retry-After seconds",
}


class Problem(BaseModel):
    """Why a request failed: the value, the rule and the next step, in one sentence."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "5 is not a project's number: projects count from 1"}]}
    )

    error: str


def document_problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return how the schema shows these statuses, for a route's or a router's `responses`."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


def document_no_validation_error(app: FastAPI) -> None:
    """Take FastAPI's own answer to values that cannot be used out of the schema: ours is a Problem with 400."""
    write_schema = app.openapi

    def openapi() -> dict[str, object]:
        schema = write_schema()
        for methods in schema["paths"].values():
            for operation in methods.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says


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
    """Return the first fault in a request's values: its place, and the rule that it breaks; a rule of ours as it is.

    Args:
        error: pydantic's or FastAPI's error.
        within: the place of the values, for an error that names only the place inside them: `("body",)`.
    """
    first = error.errors()[0]
    if isinstance(own := getattr(first.get("ctx", {}).get("error"), "__cause__", None), SamloopError):
        return BadInput(str(own))
    where = ".".join(str(part) for part in (*within, *first["loc"]))
    return BadInput(f"{where}: {first['msg']}")


def missing(*, method: str, path: str) -> NotFound:
    """Return the answer to a request that no route takes."""
    return NotFound(
        f"samloop answers no {method} {path[:80]}: pages for people begin at /review, and /docs lists everything else"
    )


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
