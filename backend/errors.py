"""The tree of errors. A message says which value was met, which rule it breaks, and what to do next.

SamloopError                 500
+- BadInput                  400  what a client sent cannot be used
|  +- BadImage               422  bytes that are not an image we can read, or too many pixels
|  +- UnusableRegion         400  a region that is not a mask of its image
|  +- ForbiddenUrl           403  an address that the URL policy refuses
|  |  +- RedirectedElsewhere 403  Label Studio sends us to another host, where its key must not go
|  +- ForeignPage            403  another site's page sent this request
|  +- TooLarge               413  a body larger than the limit
|  +- TooMuch                413  more than the backend takes in one request
|  +- Unsupported            415  a body's encoding or type that we do not read
+- NotAuthorized             401  credentials are missing or wrong
|  +- KeyRefused             424  Label Studio refuses our key; the client's credentials are fine
+- RefusedJob                403  a job whose function is not on the list
+- NotFound                  404  no such project, version or file
+- ChampionMoved             409  another promotion came first
+- NothingToLearn            409  annotations that no training can use
+- Upstream                  424  Label Studio or an image's host failed us
+- Unavailable               503  Redis, the registry or a model does not answer; try again
|  +- Busy                   503  more requests than this machine can answer in time; try again
|  +- LeaseLost              503  another run may be training this project
+- BadCheckpoint             409  a checkpoint that must not serve
+- BadWeights                500  base weights that cannot be fetched, or whose digest is wrong
+- Diverged                  500  a training whose loss stopped being a number
+- SettingsError             500  the environment holds values that we cannot use
"""

from typing import ClassVar

from backend.redaction import redact


class SamloopError(Exception):
    """Root of the tree. `str(error)` is one sentence that may be shown to a client: addresses in it hold no secret."""

    status: ClassVar[int] = 500

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


class BadInput(SamloopError):
    """What a client sent cannot be used."""

    status = 400


class BadImage(BadInput):
    """Bytes that are not an image we can read, or an image with too many pixels."""

    status = 422


class UnusableRegion(BadInput):
    """A region that is not a mask of this image. A report of what was left out may quote `reason`."""

    @property
    def reason(self) -> str:
        """Why, in one clause."""
        return str(self)


class ForbiddenUrl(BadInput):
    """An address that the URL policy refuses."""

    status = 403


class RedirectedElsewhere(ForbiddenUrl):
    """Label Studio redirects us to another host, such as a bucket, where its key must not go."""

    def __init__(self, location: str) -> None:
        super().__init__(f"Label Studio redirects to {location}")
        self.location = location  # the whole URL, with its signature


class ForeignPage(BadInput):
    """Another site's page sent this request, or it came under another site's name."""

    status = 403


class TooLarge(BadInput):
    """A body larger than the limit."""

    status = 413


class TooMuch(BadInput):
    """More than the backend takes in one request."""

    status = 413


class Unsupported(BadInput):
    """A body whose encoding or type we do not read."""

    status = 415


class NotAuthorized(SamloopError):
    """Credentials are missing or wrong."""

    status = 401


class KeyRefused(NotAuthorized):
    """Label Studio refuses our key, or does not allow the key this request."""

    # Not 401: Label Studio would say that the backend's own user and password are wrong, and people would change those.
    status = 424


class RefusedJob(SamloopError):
    """A job whose function is not on the list."""

    status = 403


class NotFound(SamloopError):
    """No such project, version or file."""

    status = 404


class ChampionMoved(SamloopError):
    """Another promotion came first: the version that the promoter compared with no longer serves."""

    status = 409


class NothingToLearn(SamloopError):
    """Annotations that no training can use."""

    status = 409


class Upstream(SamloopError):
    """Label Studio, or the host of an image, failed us."""

    # Not 502: a proxy in front of us would take us for down, only because somebody's image is gone.
    status = 424

    def __init__(self, message: str, *, retry_after_s: float | None = None, is_passing: bool | None = True) -> None:
        super().__init__(message)
        self.is_passing = is_passing  # False: asking again brings the same, a refusal; None: nobody can tell
        self.retry_after_s = retry_after_s  # what it asked for with Retry-After, s


class Unavailable(SamloopError):
    """Redis, the registry or a model does not answer. The same request may succeed after `retry_after_s` seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """More requests than this machine can answer in time; the same request may succeed later."""


class LeaseLost(Unavailable):
    """Another run may be training this project: this one must neither publish nor promote."""


class BadCheckpoint(SamloopError):
    """A checkpoint that must not serve: its digest, shapes or base are wrong, or its weights are not finite."""

    status = 409


class BadWeights(SamloopError):
    """Base weights that cannot be fetched, or whose digest is wrong."""


class Diverged(SamloopError):
    """The loss stopped being a number, step after step. Nothing of this training can be used."""


class SettingsError(SamloopError):
    """The environment holds values that we cannot use. The message lists every fault at once."""
