"""The rows of the page of all projects, whatever is away."""

from pathlib import Path

import pytest
from fakes.label_studio import FakeLabelStudio
from fakes.studio_setup import StudioSetup
from support.checkpoints import make_manifest

from backend.errors import Unavailable
from backend.images.connections import Connections
from backend.registry.local import LocalRegistry
from backend.review.projects.facts import ProjectBook
from backend.review.projects.listing import Projects, list_projects
from backend.settings import Settings


def listed(book: ProjectBook, registry: LocalRegistry, *, trained: tuple[int, ...] = ()) -> Projects:
    return list_projects(
        book, registry, served_version=lambda project_id: f"base of {project_id}", trained=lambda: trained
    )


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    """Project 8 has a version."""
    registry = LocalRegistry(tmp_path)
    registry.publish(8, weights=b"weights", manifest=make_manifest())
    return registry


def test_label_studios_projects_stand_beside_those_that_only_samloop_knows(
    studio: FakeLabelStudio, registry: LocalRegistry
) -> None:
    project_id = int(StudioSetup(studio.url, studio.token).create_project("Cells", "<View/>")["id"])
    book = ProjectBook(Connections(Settings(label_studio_url=studio.url, label_studio_api_key=studio.token)))
    projects = listed(book, registry, trained=(5,))
    assert projects.fault is None
    assert [(row.project_id, row.facts and row.facts.title, row.versions) for row in projects.rows] == [
        (project_id, "Cells", 0),
        (5, None, 0),
        (8, None, 1),
    ]
    assert projects.rows[0].served == f"base of {project_id}"


def test_a_refused_key_is_told_and_the_other_projects_stay(studio: FakeLabelStudio, registry: LocalRegistry) -> None:
    book = ProjectBook(Connections(Settings(label_studio_url=studio.url, label_studio_api_key="wrong")))
    projects = listed(book, registry)
    assert "LABEL_STUDIO_API_KEY is not accepted" in str(projects.fault)
    assert [row.project_id for row in projects.rows] == [8]


def test_a_queue_that_is_away_leaves_out_what_it_alone_knows(registry: LocalRegistry) -> None:
    def away() -> tuple[int, ...]:
        raise Unavailable("Redis cannot be reached")

    projects = list_projects(ProjectBook(Connections(Settings())), registry, served_version=str, trained=away)
    assert [row.project_id for row in projects.rows] == [8]
