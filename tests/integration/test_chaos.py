"""The first seconds of `make chaos`: whatever is killed under load, nothing is lost, torn, overlapping or mixed."""

from pathlib import Path

import pytest
from benchmarks.chaos import WRONG, run_chaos


@pytest.mark.long
def test_under_random_kills_nothing_is_lost_and_no_answer_is_of_two_versions(tmp_path: Path) -> None:
    """Fails without the lease and the fence (overlapping), the sweep (unserved), or the check of a version's digest.

    A version whose weights do not match its digest is never swapped in: it would answer, and differ from itself once a
    server has started again.
    """
    house, wrongs = run_chaos(tmp_path, seconds=15.0, seed=4, fewest=6)

    assert wrongs == dict.fromkeys(WRONG, 0), house.counts
    assert house.counts.done["trainings asked for"] > 10
    assert house.counts.done["clicks answered"] > 10
    assert len({version for version, *_ in house.counts.rles}) > 1, "a version must have been swapped in meanwhile"
