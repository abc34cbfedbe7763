"""The last training's verdict in words. A later decision by a person goes before it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from backend.registry.metrics import NOT_PROMOTED
from backend.registry.protocol import Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVerdict:
    """The verdict on the last training.

    Attributes:
        version: the version that it made; None without one.
        heading: one sentence that says whether this version is served, and who decided so.
        is_good: whether the version is served, or was better than the version served then.
        overruled_by: a person's decision against the verdict.
        reasons: the verdict's own reasons.
    """

    version: str | None
    heading: str
    is_good: bool
    overruled_by: Pointer | None
    reasons: tuple[str, ...]


def tell_verdict(verdict: Mapping[str, JsonValue], *, served: str, champion: Pointer | None) -> LastVerdict:
    """Describe a verdict, given what is served now.

    Args:
        verdict: the training's `version`, `promote` and `reasons`.
        served: the version that is served now.
        champion: the latest decision.
    """
    version, is_better = verdict.get("version"), verdict.get("promote") is True
    is_served = version == served
    names_it = champion is not None and champion.version == version
    match is_better, is_served:
        case True, True:
            heading, overruled_by = "Better than the version served before: promoted", None
        case False, True:
            heading = "Served because a person decided so; the training's own verdict was against it"
            overruled_by = champion if names_it else None
        case True, False if champion is not None and not names_it:
            heading = "Better than the version served then; a later decision serves another version"
            overruled_by = champion
        case True, False:
            heading, overruled_by = "Better than the version that is served", None
        case _:
            heading, overruled_by = NOT_PROMOTED, None
    reasons = verdict.get("reasons")
    return LastVerdict(
        version=version if isinstance(version, str) else None,
        heading=heading,
        is_good=is_better or is_served,
        overruled_by=overruled_by,
        reasons=tuple(str(reason) for reason in reasons) if isinstance(reasons, list | tuple) else (),
    )
