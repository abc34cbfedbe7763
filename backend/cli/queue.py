"""The queue from the command line: where it is, and a training followed to its end."""

import time

from rich.progress import Progress, TextColumn, TimeElapsedColumn

from backend.cli.console import err, out, settings_and_logging
from backend.errors import SamloopError, Unavailable
from backend.settings import Settings
from backend.work.connection import connect
from backend.work.embedded import live_url
from backend.work.progress import progress_line
from backend.work.queue import TrainingQueue, workers
from backend.work.status import TrainingStatus


def queue_url(settings: Settings) -> str:
    """REDIS_URL, else the embedded Valkey of a running `samloop up` or `samloop demo`.

    Raises:
        Unavailable: neither is there.
    """
    url = settings.queue.redis_url or live_url(settings.queue.dir)
    if url is None:
        raise Unavailable("no queue: REDIS_URL is not set and no embedded one runs here; start `samloop up`")
    return url


def train_project(project_id: int, *, wait: bool) -> None:
    """Queue a training, and follow it if asked.

    Raises:
        Unavailable: the queue is away.
        SamloopError: the training that was waited for failed.
    """
    settings = settings_and_logging()
    connection = connect(queue_url(settings))
    queue = TrainingQueue(connection, job_seconds=settings.queue.job_seconds)
    job_id = queue.request(project_id)
    if not workers(connection):
        err.print("no worker trains here yet: start `samloop worker` (`samloop up` brings one)", soft_wrap=True)
    if wait:
        _follow(queue, project_id)
    else:
        out.print(
            f"queued {job_id}: --wait follows it, and so do /review/{project_id} and /projects/{project_id}/status on "
            "the backend",
            soft_wrap=True,
            highlight=False,
        )


def _follow(queue: TrainingQueue, project_id: int) -> None:
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=err, transient=True) as progress:
        line, is_table_shown = progress.add_task("queued"), False
        while (status := queue.status(project_id)).phase in {"queued", "training"}:
            progress.update(line, description=_words(status))
            if not is_table_shown and (table := status.progress.get("table")):
                is_table_shown = True
                err.print(table, markup=False, highlight=False, soft_wrap=True)
            time.sleep(0.5)
    if status.error:
        raise SamloopError(f"the training of project {project_id} failed: {status.error}")
    verdict = status.verdict or {}
    out.print(str(verdict.get("reason", "the training ended without a verdict")), soft_wrap=True)


def _words(status: TrainingStatus) -> str:
    return progress_line(status.progress) or status.phase
