"""The queue from the command line: its address, `status`, `cancel`, and following a training to its end."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from rich.progress import Progress, TextColumn, TimeElapsedColumn

from backend.amounts import write_amount
from backend.cli.console import AsJson, ProjectOption, err, load_settings, out, print_json, project_option, write_time
from backend.errors import SamloopError, Unavailable
from backend.settings import Settings
from backend.work.progress import write_duration, write_progress

if TYPE_CHECKING:
    from pydantic import JsonValue

    from backend.registry.protocol import Registry
    from backend.work.queue import TrainingQueue
    from backend.work.status import TrainingStatus


def queue_url(settings: Settings) -> str:
    """Return REDIS_URL, else the address of a running `samloop up` or `samloop demo`'s embedded Valkey.

    Raises:
        Unavailable: there is neither.
    """
    from backend.work.embedded import find_live_url

    url = settings.queue.redis_url or find_live_url(settings.queue.dir)
    if url is None:
        raise Unavailable("no queue: REDIS_URL is not set and no embedded queue runs here; start `samloop up`")
    return url


def cancel(project: ProjectOption, as_json: AsJson = False) -> None:  # noqa: FBT002 - typer's flags
    """End a project's running training within one step, and its waiting trainings."""
    from backend.work.connection import connect
    from backend.work.queue import TrainingQueue

    settings = load_settings()
    queue = TrainingQueue(connect(queue_url(settings)), job_seconds=settings.queue.job_seconds)
    is_busy = queue.cancel(project)
    if as_json:
        print_json({"project": project, "status": "cancelling" if is_busy else "none"})
    else:
        outcome = "is ending" if is_busy else "was neither waiting nor running"
        out.print(f"the training of project {project} {outcome}")


def status(
    project: Annotated[int | None, project_option("Only this project; default: all projects.")] = None,
    as_json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Show the served version, the running training and its progress, the queue, and the last verdict."""
    from backend.registry.opening import open_registry
    from backend.work.connection import connect
    from backend.work.queue import TrainingQueue, count_listeners

    settings = load_settings()
    registry = open_registry(settings)
    connection = connect(queue_url(settings))
    queue = TrainingQueue(connection, job_seconds=settings.queue.job_seconds)
    listening = count_listeners(connection)
    project_ids = [project] if project is not None else sorted({*registry.projects(), *queue.projects()})
    rows = [
        _row(project_id, queue.status(project_id), registry=registry, listening=listening) for project_id in project_ids
    ]
    if as_json:
        print_json(rows[0] if project is not None else {"projects": rows})
        return
    if not rows:
        out.print("no project has requested a training yet")
    for row in rows:
        for line in _status_lines(row):
            out.print(line)


def _row(
    project_id: int, training: "TrainingStatus", *, registry: "Registry", listening: int
) -> dict[str, "JsonValue"]:
    champion = registry.champion(project_id)
    return {
        "project": project_id,
        "served": {
            "version": champion.version if champion else None,
            "number": champion.number if champion else 0,
            "since": champion.at if champion else None,
        },
        "phase": training.phase,
        "job": training.job_id,
        "progress": dict(training.progress),
        "said": write_progress(training.progress),
        "share": training.share,
        "left_s": training.left_s,
        "queue": {"queued": training.queued, "workers": listening},
        "verdict": dict(training.verdict) if training.verdict else None,
        "error": training.error,
        "cancelled": training.cancelled,
    }


def _status_lines(row: Mapping[str, "JsonValue"]) -> list[str]:
    match row:
        case {"served": {"version": served}, "queue": {"queued": waiting, "workers": listening}}:
            pass
        case _:
            raise AssertionError("a row is made by _row")
    phase = str(row["said"] or row["phase"])
    if isinstance(share := row["share"], float):
        phase += f", {share:.0%}"
    if isinstance(left_s := row["left_s"], float):
        phase += f", {write_duration(left_s)} left"
    if row["cancelled"]:
        phase += f" (cancelled {write_time(str(row['cancelled']))})"
    lines = [
        f"project {row['project']}",
        f"  served    {served or 'the base model'}",
        f"  training  {phase}",
        f"  queue     {waiting} waiting, {write_amount(int(str(listening)), 'worker')}",
        f"  verdict   {verdict_line(row['verdict'], served=served)}",
    ]
    return [*lines, f"  error     {row['error']}"] if row["error"] else lines


def verdict_line(verdict: object, *, served: object = None) -> str:
    """Write a training's result on one line: promoted or not, version, reason. `served`: the served version."""
    if not isinstance(verdict, Mapping):
        return "none yet"
    outcome = "promoted" if verdict.get("promoted") else "not promoted"
    if outcome == "not promoted" and served is not None and verdict.get("version") == served:
        outcome = "not promoted by itself, but by a person since"
    return f"{outcome}: {verdict.get('version') or 'no version'}, {verdict.get('reason') or 'without a reason'}"


def train_project(project_id: int, *, wait: bool) -> None:
    """Queue a training, and follow it if asked.

    Raises:
        Unavailable: the queue cannot be reached.
        SamloopError: the training failed while we waited.
    """
    from backend.work.connection import connect
    from backend.work.queue import TrainingQueue, count_listeners

    settings = load_settings()
    connection = connect(queue_url(settings))
    queue = TrainingQueue(connection, job_seconds=settings.queue.job_seconds)
    job_id = queue.request(project_id)
    if not count_listeners(connection):
        err.print("no worker trains here yet: start `samloop worker` (`samloop up` includes one)")
    if wait:
        _follow(queue, project_id)
    else:
        out.print(
            f"queued {job_id}: --wait follows it, and so do /review/{project_id} and /projects/{project_id}/status on "
            "the backend",
        )


def _follow(queue: "TrainingQueue", project_id: int) -> None:
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=err, transient=True) as progress:
        line, is_table_shown = progress.add_task("queued"), False
        while (status := queue.status(project_id)).phase in {"queued", "training"}:
            progress.update(line, description=_words(status))
            if not is_table_shown and (table := status.progress.get("table")):
                is_table_shown = True
                err.print(str(table))
            time.sleep(0.5)
    if status.error:
        raise SamloopError(f"the training of project {project_id} failed: {status.error}")
    if status.cancelled:
        raise SamloopError(f"the training of project {project_id} was cancelled")
    out.print(verdict_line(status.verdict))
    out.print(f"report and masks: /review/{project_id} on the backend")


def _words(status: "TrainingStatus") -> str:
    words = write_progress(status.progress) or status.phase
    if status.share is not None:
        words += f", {status.share:.0%}"
    return words if status.left_s is None else f"{words}, {write_duration(status.left_s)} left"
