"""`samloop order`: chooses which tasks to label first, and sets Label Studio up to bring them first."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from backend.amounts import write_amount
from backend.cli.console import ProjectOption, err, load_settings, out
from backend.cli.project import SCORES_TAB, UNTOUCHED
from backend.errors import BadInput, SamloopError
from backend.settings import Settings

if TYPE_CHECKING:  # `samloop --help` has no time for these
    import numpy as np

    from backend.labelstudio.api.client import LabelStudio
    from backend.labelstudio.api.predictions import PredictionStore, TaskState

NEXT_TAB = "samloop: label next"
_MOST_LOOKED_AT = 300  # images compared; an embedding that is in no tier takes a CPU a second
_MOST_LISTED = 5_000
_PAGE = 500


def order(
    project: ProjectOption,
    tasks: Annotated[int, typer.Option("--tasks", "-n", min=1, max=200, help="How many tasks the tab lists.")] = 50,
) -> None:
    """Fill a data-manager tab with the tasks to label next; safe to repeat.

    While fewer than 20 tasks are annotated, it chooses the tasks whose images differ most from one another (k-means on
    mean embeddings). From then on it chooses the tasks with the lowest scores, and orders the label stream by score
    too. Every tenth task is drawn at random, so that the held-out images stay unbiased.
    """
    from backend.cli.order.choice import ENOUGH, draw_at_random, mix_in_random
    from backend.labelstudio.api.client import label_studio_of
    from backend.labelstudio.api.filters import filter_untouched
    from backend.labelstudio.api.predictions import PredictionStore

    settings = load_settings()
    client = label_studio_of(settings)
    store = PredictionStore(client.url, str(settings.label_studio.api_key), project_id=project)
    listed = list(islice(_list_untouched(store), _MOST_LISTED))
    if not listed:
        raise BadInput(f"project {project} has no task left that nobody has annotated, skipped or begun")
    annotated = store.count_annotated()
    if annotated < ENOUGH:
        out.print(f"{annotated} of {ENOUGH} tasks are annotated: those that differ most from one another are chosen")
        first = _different(listed, client, settings=settings, project=project, count=tasks)
    else:
        out.print(f"{annotated} tasks are annotated: those with the lowest scores are chosen")
        first = _uncertain(client, store, listed, count=tasks)
    drawn = draw_at_random((task.task_id for task in listed), project_id=project, count=tasks)
    chosen = mix_in_random(first, drawn, count=tasks)
    by_score = annotated >= ENOUGH
    tab = client.tabs.save(
        project,
        NEXT_TAB,
        ordering=["tasks:predictions_score" if by_score else "tasks:id"],
        filters=[filter_untouched(task_id) for task_id in chosen],
        conjunction="or",
        shown=["predictions_score"] if by_score else (),
    )
    out.print(f'tab "{NEXT_TAB}" holds {write_amount(len(chosen), "task")}, every tenth drawn at random:')
    out.print(f"{client.public_url}/projects/{project}/data?tab={tab}")
    in_order = "lowest score first" if by_score else "by number: any of them is worth labelling next"
    out.print(f'"Label Tasks As Displayed" goes through it, {in_order}.')
    out.print("What is annotated leaves the tab; run this again when it is empty")


def _list_untouched(store: "PredictionStore") -> Iterator["TaskState"]:
    after = 0
    while states := store.list_untouched(after=after, limit=_PAGE)[0]:
        yield from states
        after = states[-1].task_id


def _uncertain(client: "LabelStudio", store: "PredictionStore", listed: list["TaskState"], *, count: int) -> list[int]:
    """Return the tasks with the lowest stored scores, and set up the label stream and the tab to go by score."""
    shown = str(store.project().get("model_version") or "")
    if not store.counts().get(shown):
        raise BadInput(
            f"project {store.project_id} shows {shown or 'no version'}, but no prediction of it is stored. "
            "Label Studio sorts by stored scores of the version in the project's model_version, and by nothing "
            "while that is a live backend. Store and show some: "
            f"`samloop refresh --project {store.project_id}` (with SAMLOOP_FLIP)"
        )
    client.update_project(store.project_id, sampling="Uncertainty sampling")
    client.tabs.save(
        store.project_id,
        SCORES_TAB,
        ordering=["tasks:predictions_score"],
        filters=UNTOUCHED,
        shown=["predictions_score"],
    )
    out.print(
        f'the label stream brings the lowest scores of {shown} first ("Uncertainty sampling"), and so does the tab '
        f'"{SCORES_TAB}"',
    )
    untouched = {task.task_id for task in listed}
    return [task_id for task_id in store.lowest_scores(limit=2 * count) if task_id in untouched]


def _different(
    listed: list["TaskState"], client: "LabelStudio", *, settings: Settings, project: int, count: int
) -> list[int]:
    """Return the most different tasks among at most 300 drawn at random."""
    import numpy as np

    from backend.cli.order.choice import choose_diverse, draw_at_random

    looked_at = set(draw_at_random((task.task_id for task in listed), project_id=project, count=_MOST_LOOKED_AT))
    ids, features = [], []
    for task_id, mean in _mean_embeddings(
        [task for task in listed if task.task_id in looked_at], client, settings=settings, project=project
    ):
        ids.append(task_id)
        features.append(mean)
    if not ids:
        raise BadInput(f"no image of project {project} could be read: `samloop warm --project {project}` tells why")
    return [ids[row] for row in choose_diverse(np.stack(features), count=count)]


def _mean_embeddings(
    tasks: list["TaskState"], client: "LabelStudio", *, settings: Settings, project: int
) -> Iterator[tuple[int, "np.ndarray"]]:
    """Yield a task's id and the mean embedding of its images, for every task whose images can be read.

    Embeddings come from memory or disk; missing ones are computed and stored.
    """
    import math

    import numpy as np

    from backend.images.source import ImageSource
    from backend.labelstudio.label_config import parse_label_config
    from backend.sam.loading import load_base
    from backend.serving.machine import open_machine
    from backend.serving.task_image import TaskImage
    from backend.serving.turns.traffic import Priority

    config = parse_label_config(str(client.project(project)["label_config"]))
    images = ImageSource(settings=settings, label_studio=client)
    base = load_base(
        settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
    )
    machine = open_machine(base, settings)
    try:
        for task in tasks:
            image = TaskImage(task={"id": task.task_id, "data": task.data}, config=config, images=images)
            try:
                means = [
                    machine.embeddings.of(part, priority=Priority.CLICK, until_s=math.inf)
                    .features.float()
                    .mean((0, 2, 3))
                    for part in image.parts()
                ]
            except SamloopError as fault:
                err.print(f"task {task.task_id} is left out: {fault}")
                continue
            yield task.task_id, np.mean([mean.cpu().numpy() for mean in means], axis=0)
    finally:
        machine.close()
