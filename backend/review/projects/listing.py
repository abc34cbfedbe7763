"""The page of all projects: those of Label Studio, and those that samloop has versions or trainings of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backend.errors import SamloopError
from backend.registry.protocol import Registry
from backend.review.projects.facts import ProjectBook, ProjectFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    """A project of the list.

    Attributes:
        project_id: its number.
        facts: what Label Studio says; None where it knows no such project, or cannot be asked.
        served: the version that answers.
        versions: how many the registry has.
    """

    project_id: int
    facts: ProjectFacts | None
    served: str
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Projects:
    """All rows by number; `fault`: why Label Studio could not be asked."""

    rows: tuple[ProjectRow, ...]
    fault: str | None


def list_projects(
    book: ProjectBook,
    registry: Registry,
    *,
    served_version: Callable[[int], str],
    trained: Callable[[], Iterable[int]],
) -> Projects:
    """Gather them; a Label Studio or a queue that is away leaves out what it alone knows.

    Args:
        book: what Label Studio says.
        registry: the versions.
        served_version: by project.
        trained: the projects that a training was asked for.

    Raises:
        Unavailable: the registry cannot be read.
    """
    fault = None
    try:
        facts = {found.project_id: found for found in book.list_all()}
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
            facts=facts.get(project_id) or (book.remembered(project_id) if fault else None),
            served=served_version(project_id),
            versions=len(registry.versions(project_id)) if project_id in published else 0,
        )
        for project_id in sorted({*facts, *asked_for, *published})
    )
    return Projects(rows=rows, fault=fault)
