"""`samloop refresh`: fresh pre-annotations for a project's untouched tasks."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.cli.console import ProjectOption, err, load_settings, out
from backend.cli.queue import queue_url
from backend.errors import SamloopError

if TYPE_CHECKING:
    from backend.work.queue import TrainingQueue


def refresh(
    project: ProjectOption,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the running and the waiting refreshes.")] = False,  # noqa: FBT002 - typer's flags
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch the refresh until it ends.")] = True,  # noqa: FBT002
) -> None:
    """Let the served version pre-annotate every task that nobody has touched.

    The same job runs by itself after every promotion. Ctrl-C stops watching; the refresh goes on (--cancel ends it).
    """
    from backend.work.connection import connect
    from backend.work.follower import refresh_queue
    from backend.work.jobs import REFRESHES
    from backend.work.queue import count_listeners

    connection = connect(queue_url(load_settings()))
    queue = refresh_queue(connection)
    if cancel:
        outcome = "is ending" if queue.cancel(project) else "was neither waiting nor running"
        out.print(f"the refresh of project {project} {outcome}")
        return
    job_id = queue.request(project)
    if not count_listeners(connection, work=REFRESHES):
        err.print("no worker refreshes here yet: `samloop worker --refresh` (`samloop up` includes one)")
    if wait:
        _follow(queue, project)
    else:
        out.print(f"queued {job_id}; its progress: GET /projects/{project}/status")


def _follow(queue: "TrainingQueue", project_id: int) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        line = progress.add_task("queued", total=None)
        while (status := queue.status(project_id)).phase in {"queued", "refreshing"}:
            figures = status.progress
            words = f"{figures.get('phase', status.phase)} {figures.get('version', '')}"
            progress.update(
                line, description=words, total=_count(figures.get("total")), completed=_count(figures.get("done"))
            )
            time.sleep(0.5)
    if status.error:
        raise SamloopError(f"the refresh of project {project_id} failed: {status.error}")
    out.print(str((status.verdict or {}).get("reason", "the refresh ended without a verdict")))


def _count(figure: object) -> float | None:
    """A figure of the progress, which comes out of Redis; None for anything but a number."""
    return float(figure) if isinstance(figure, int | float) else None
