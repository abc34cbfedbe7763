"""Which old predictions go."""

import pytest

from backend.refresh.rules import Rules


@pytest.mark.parametrize(
    ("keep", "outdated"), [(0, []), (1, ["base", "v1", "v3"]), (2, ["base", "v1"]), (3, ["base"]), (9, [])]
)
def test_the_served_version_is_always_among_those_that_stay(keep: int, outdated: list[str]) -> None:
    """Even where it is an old one, after a rollback."""
    assert Rules(ours=("base", "v1", "v2", "v3"), keep=keep).list_outdated("v2") == outdated
