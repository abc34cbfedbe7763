"""All projects: those in Label Studio, and those with versions or trainings here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backend.errors import SamloopError
from backend.registry.protocol import Registry
from backend.review.projects.facts import ProjectBook, ProjectFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    """A project in the list.

    Attributes:
        project_id: its id.
        facts: what Label Studio says; None where it has no such project, or does not answer.
        served: the version that serves it.
        versions: how many versions the registry has.
    """

    project_id: int
    facts: ProjectFacts | None
    served: str
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Projects:
    """All rows by id; `fault`: why Label Studio did not answer, or None."""

    rows: tuple[ProjectRow, ...]
    fault: str | None


def list_projects(
    book: ProjectBook,
    registry: Registry,
    *,
    served_version: Callable[[int], str],
    trained: Callable[[], Iterable[int]],
) -> Projects:
    """List all projects; those that only Label Studio or the queue knows are missing while it does not answer.

    Args:
        book: what Label Studio says.
        registry: the versions.
        served_version: the version that serves a project now.
        trained: lists the projects with a training, past or queued.

    Raises:
        Unavailable: the registry cannot be read.
    """
    fault = None
    try:
        facts = {project.project_id: project for project in book.list_all()}
    except SamloopError as failure:
        facts, fault = {}, str(failure)
    try:
        asked_for = set(trained())
    except SamloopError:
        asked_for = set()
    published = set(registry.projects())
    rows = tuple(
        ProjectRow(
            project_id=project_id,
            facts=facts.get(project_id) or (book.recall(project_id) if fault else None),
            served=served_version(project_id),
            versions=len(registry.versions(project_id)) if project_id in published else 0,
        )
        for project_id in sorted({*facts, *asked_for, *published})
    )
    return Projects(rows=rows, fault=fault)
