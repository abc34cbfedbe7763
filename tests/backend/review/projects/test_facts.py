"""What pages learn of projects from Label Studio, and how little they ask it."""

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from support.clock import HandClock

from backend.errors import NotFound
from backend.images.connections import Connections
from backend.review.projects.facts import ProjectBook
from backend.settings import Settings

CONFIG = '<View><Image name="image" value="$image"/></View>'


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def book(studio: FakeLabelStudio, clock: HandClock) -> ProjectBook:
    settings = Settings(label_studio_url=studio.url, label_studio_api_key=studio.token)
    return ProjectBook(Connections(settings), clock=clock)


@pytest.fixture
def project_id(studio: FakeLabelStudio) -> int:
    """Nuclei: three tasks, one of them annotated, one skipped."""
    client = StudioSetup(studio.url, studio.token)
    project_id = int(client.create_project("Nuclei", CONFIG)["id"])
    client.import_tasks(project_id, [{"data": {"image": f"/{name}.png"}} for name in "abc"])
    first, second, _ = (task["id"] for task in client.tasks(project_id))
    client.create_annotation(first, [])
    client.create_annotation(second, [], was_cancelled=True)
    return project_id


def asked(studio: FakeLabelStudio) -> int:
    return sum(request.path.startswith("/api/projects/") and request.method == "GET" for request in studio.requests)


def test_a_project_has_its_title_its_counts_and_its_place_in_label_studio(
    studio: FakeLabelStudio, book: ProjectBook, project_id: int
) -> None:
    facts = book.find(project_id)
    assert facts is not None
    assert (facts.title, facts.tasks, facts.annotated) == ("Nuclei", 3, 1)
    assert facts.url == f"{studio.url}/projects/{project_id}/data"


def test_a_project_is_asked_for_again_only_after_some_seconds(
    studio: FakeLabelStudio, book: ProjectBook, project_id: int, clock: HandClock
) -> None:
    before = asked(studio)
    book.find(project_id)
    book.find(project_id)
    assert asked(studio) == before + 1
    clock.advance(6)
    book.find(project_id)
    assert asked(studio) == before + 2


def test_an_unknown_project_is_told_with_those_that_there_are(book: ProjectBook, project_id: int) -> None:
    with pytest.raises(NotFound, match=rf"no project 99, or this key may not see it; it has {project_id}$"):
        book.find(99)


def test_a_label_studio_that_fails_is_left_alone_for_half_a_minute_and_what_it_said_last_stays(
    studio: FakeLabelStudio, book: ProjectBook, project_id: int, clock: HandClock
) -> None:
    known = book.find(project_id)
    clock.advance(6)
    studio.fail(f"/api/projects/{project_id}/", status=502)
    before = asked(studio)
    assert book.find(project_id) == known
    assert book.find(project_id) == known
    assert asked(studio) == before + 1, "a page does not wait through tries"
    clock.advance(31)
    assert book.find(project_id) == known
    assert asked(studio) == before + 2


def test_all_projects_come_page_by_page_in_the_order_of_their_numbers(
    studio: FakeLabelStudio, book: ProjectBook
) -> None:
    client = StudioSetup(studio.url, studio.token)
    ids = [int(client.create_project(f"number {number}", CONFIG)["id"]) for number in range(103)]
    assert [facts.project_id for facts in book.list_all()] == ids
    remembered = book.recall(ids[-1])
    assert remembered is not None
    assert remembered.title == "number 102"


def test_without_a_label_studio_nothing_is_known() -> None:
    book = ProjectBook(Connections(Settings()))
    assert book.find(1) is None
    assert book.list_all() == ()
