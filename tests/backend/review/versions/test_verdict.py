"""A verdict never contradicts what a person has decided since."""

import pytest

from backend.registry.protocol import Pointer
from backend.review.versions.verdict import tell_verdict

MADE, OTHER = "mobile-sam-p1-v3-0a1b2c", "mobile-sam-p1-v2-0a1b2c"


def decision(version: str | None) -> Pointer:
    return Pointer(4, version, "the rim is tighter (Ann, on the review page)", "2026-01-05T09:30:00+00:00")


@pytest.mark.parametrize(
    ("promote", "served", "champion", "told"),
    [
        (True, MADE, decision(MADE), ("promoted", True, False)),
        (False, OTHER, decision(OTHER), ("Not promoted: kept as a challenger", False, False)),
        (False, OTHER, None, ("Not promoted: kept as a challenger", False, False)),
        (False, MADE, decision(MADE), ("Served because a person decided so", True, True)),
        (True, OTHER, decision(OTHER), ("a later decision serves another version", True, True)),
        (True, OTHER, decision(MADE), ("Better than the version that is served", True, False)),  # it is being loaded
    ],
)
def test_what_is_said_of_a_version_fits_what_is_served(
    promote: bool, served: str, champion: Pointer | None, told: tuple[str, bool, bool]
) -> None:
    heading, is_good, is_overruled = told
    verdict = {"version": MADE, "promote": promote, "reasons": ["boxes +0.010", "points +0.020"]}
    found = tell_verdict(verdict, served=served, champion=champion)
    assert heading in found.heading
    assert found.is_good == is_good
    assert found.overruled_by == (champion if is_overruled else None)
    assert found.reasons == ("boxes +0.010", "points +0.020")


def test_a_training_that_made_no_version_has_a_verdict_too() -> None:
    found = tell_verdict({"promote": False, "reasons": None}, served=OTHER, champion=None)
    assert (found.version, found.reasons, found.is_good) == (None, (), False)
