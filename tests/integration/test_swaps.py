"""The swaps of `make chaos`, one for every way in which a version can be corrupt."""

from pathlib import Path

import pytest
from benchmarks.swaps import WAYS, run_swaps


@pytest.mark.long
def test_a_version_that_is_corrupt_in_any_way_is_never_served_and_no_click_is_dropped_or_mixed(
    tiny_sam_dir: Path, tmp_path: Path
) -> None:
    """Fails without the digests of a manifest and its files, or without the look at what is in a file (HOSTILE)."""
    outcome = run_swaps(tmp_path, tiny_sam_dir, ways=[*WAYS, None])

    assert outcome.wrongs == dict.fromkeys(outcome.wrongs, 0), outcome.counts.faults
    assert outcome.counts.done["clicks answered"] > len(WAYS)
    assert len(outcome.counts.versions) > 1
    assert outcome.limits == {"clicks": 0, "memory": 0}
