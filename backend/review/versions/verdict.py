"""The last training's verdict as a page tells it: a verdict is an opinion, and what a person decides goes before it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from backend.registry.protocol import Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVerdict:
    """What came of the last training.

    Attributes:
        version: what it made; None: nothing.
        heading: one sentence: whether its version is served, and whether that is its own doing.
        is_good: it is served, or was better than what was served then.
        overruled_by: the person's decision that speaks against the verdict.
        reasons: the verdict's own.
    """

    version: str | None
    heading: str
    is_good: bool
    overruled_by: Pointer | None
    reasons: tuple[str, ...]


def tell_verdict(verdict: Mapping[str, JsonValue], *, served: str, champion: Pointer | None) -> LastVerdict:
    """Put a verdict beside what is served now.

    Args:
        verdict: `version`, `promote` and `reasons`, as a training left them.
        served: the version that answers.
        champion: the latest decision.
    """
    version, is_better = verdict.get("version"), verdict.get("promote") is True
    is_served = version == served
    names_it = champion is not None and champion.version == version
    match is_better, is_served:
        case True, True:
            heading, overruled_by = "Better than what was served before: promoted", None
        case False, True:
            heading = "Served because a person decided so; the training's own verdict was against it"
            overruled_by = champion if names_it else None
        case True, False if champion is not None and not names_it:
            heading = "Better than what was served then; a later decision serves another version"
            overruled_by = champion
        case True, False:
            heading, overruled_by = "Better than what was served", None
        case _:
            heading, overruled_by = "Kept as a challenger: not served", None
    reasons = verdict.get("reasons")
    return LastVerdict(
        version=version if isinstance(version, str) else None,
        heading=heading,
        is_good=is_better or is_served,
        overruled_by=overruled_by,
        reasons=tuple(str(reason) for reason in reasons) if isinstance(reasons, list | tuple) else (),
    )
