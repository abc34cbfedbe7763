"""A number that somebody made up is told from a project, and from a Label Studio that cannot be asked."""

from collections import Counter

import pytest

from backend.errors import KeyRefused, NotFound, SamloopError, Upstream
from backend.images.known_projects import KnownProjects


class Studio:
    """Has `projects`, at first project 1; `fault`: what it raises instead."""

    def __init__(self, fault: SamloopError | None = None) -> None:
        self.fault, self.asked, self.projects = fault, Counter[int](), {1}

    def project(self, project_id: int, *, is_patient: bool = True) -> dict[str, object]:
        assert not is_patient, "somebody waits for the webhook's answer"
        self.asked[project_id] += 1
        if self.fault is not None:
            raise self.fault
        if project_id not in self.projects:
            raise NotFound(f"no project {project_id}")
        return {"id": project_id}


def test_a_project_is_known_and_a_made_up_number_is_not() -> None:
    known = KnownProjects(lambda _: Studio())
    assert not known.is_missing(1)
    assert known.is_missing(2)
    known.check(1)
    with pytest.raises(NotFound, match="Label Studio has no project 2"):
        known.check(2)


def test_label_studio_is_asked_once_for_many_events() -> None:
    studio = Studio()
    known = KnownProjects(lambda _: studio)
    for _ in range(50):
        known.is_missing(1)
    assert studio.asked == {1: 1}


def test_a_project_that_is_made_is_known_at_once() -> None:
    studio = Studio()
    known = KnownProjects(lambda _: studio)
    assert known.is_missing(2)
    studio.projects.add(2)
    assert not known.is_missing(2)


@pytest.mark.parametrize("fault", [Upstream("it cannot be reached"), KeyRefused("it refuses the key")])
def test_nothing_is_lost_while_label_studio_cannot_be_asked(fault: SamloopError) -> None:
    studio = Studio(fault)
    known = KnownProjects(lambda _: studio)
    assert not known.is_missing(1)
    assert not known.is_missing(2)
    studio.fault = None
    assert known.is_missing(2), "the answer of then is not remembered"


def test_without_any_label_studio_every_project_may_be_one() -> None:
    assert not KnownProjects(lambda _: None).is_missing(2)
