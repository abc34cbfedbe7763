"""One tree of errors. Every message tells the value met, the rule and the next step.

SamloopError                 500
+- BadInput                  400  what a client sent cannot be used
|  +- BadImage               422  bytes that are no image we read, or too many pixels
|  +- ForbiddenUrl           403  an address that the URL policy refuses
+- NotAuthorized             401  credentials are missing or wrong
|  +- KeyRefused             424  Label Studio refuses our key; whoever asked us is welcome
+- NotFound                  404  no such project, version or file
+- Upstream                  424  Label Studio (or an image's host) failed us
+- Unavailable               503  Redis, the registry or a model is away; try again
|  +- Busy                   503  more requests than this machine can answer in time; try again
+- BadCheckpoint             500  a checkpoint that must not be served
+- BadWeights                500  base weights that cannot be had or do not verify
+- NothingToLearn            409  annotations from which nothing can be trained
+- SettingsError             500  the environment holds values that cannot be used
"""

from typing import ClassVar


class SamloopError(Exception):
    """Root of the tree. `str(error)` is one sentence that may be shown to a client."""

    status: ClassVar[int] = 500


class BadInput(SamloopError):
    """What a client sent cannot be used."""

    status = 400


class BadImage(BadInput):
    """Bytes that are no image we read, or one with too many pixels."""

    status = 422


class ForbiddenUrl(BadInput):
    """An address that the URL policy refuses."""

    status = 403


class NotAuthorized(SamloopError):
    """Credentials are missing or wrong."""

    status = 401


class KeyRefused(NotAuthorized):
    """Label Studio refuses our key, or does not allow it this."""

    # Not 401: Label Studio would tell that the backend's own user and password are wrong, and people mend those.
    status = 424


class NotFound(SamloopError):
    """No such project, version or file."""

    status = 404


class Upstream(SamloopError):
    """Label Studio, or the host of an image, failed us."""

    # Not 502: a proxy in front of us would take that for us being down, because somebody's image is gone.
    status = 424

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # what it asked for with Retry-After, s


class Unavailable(SamloopError):
    """Redis, the registry or a model is away; the same request may succeed after `retry_after_s`."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """More requests than this machine can answer in time; the same request may succeed later."""


class BadCheckpoint(SamloopError):
    """A checkpoint that must not be served: wrong digest, shape, base, or weights that are not finite."""


class BadWeights(SamloopError):
    """Base weights that cannot be had, or do not verify."""


class NothingToLearn(SamloopError):
    """Annotations from which nothing can be trained."""

    status = 409


class SettingsError(SamloopError):
    """The environment holds values that cannot be used; every fault is told at once."""
