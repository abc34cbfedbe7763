"""Keys of one project and kind are nobody else's."""

from hypothesis import given
from hypothesis import strategies as st

from backend.ids import LARGEST_PROJECT_ID, JobId
from backend.work.keys import Keys

NAMES = (
    "wanted",
    "served",
    "waiting",
    "latest",
    "last",
    "lease",
    "fence",
    "cancelled",
    "followed",
    "limit",
    "changed",
    "changed_at",
)


def test_no_two_keys_are_the_same() -> None:
    keys = [
        getattr(Keys(project_id, kind), name)
        for project_id in (7, 77)
        for kind in ("train", "refresh")
        for name in NAMES
    ]
    assert len(set(keys)) == len(keys)


def test_the_keys_of_earlier_versions_are_found_again() -> None:
    """What is queued when samloop is upgraded is still wanted afterwards."""
    assert Keys(7).wanted == "samloop:wanted:7"
    assert Keys(7, "refresh").wanted == "samloop:refresh:wanted:7"


@given(project_id=st.integers(1, LARGEST_PROJECT_ID), generation=st.integers(1, 10**9))
def test_a_jobs_id_tells_whose_it_is(project_id: int, generation: int) -> None:
    keys = Keys(project_id, "refresh")
    assert keys.job_id(generation) == f"{keys.job_prefix}{generation}"
    job_id = JobId.find(keys.job_id(generation))
    assert job_id is not None
    assert (job_id.kind, job_id.project_id, job_id.generation) == ("refresh", project_id, generation)
