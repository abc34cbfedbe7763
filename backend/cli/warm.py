"""`samloop warm`: embeds a whole project before anybody opens it."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.amounts import write_amount
from backend.cli.console import ProjectOption, err, load_settings, out
from backend.errors import NotFound, Unavailable
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.labelstudio.api.client import LabelStudio
    from backend.labelstudio.payloads import Project
    from backend.serving.warming import Warmed

_SHOWN = 5


def warm(project: ProjectOption) -> None:
    """Encode every image of a project ahead of time, so that no first click waits; safe to stop and repeat."""
    from backend.labelstudio.api.client import label_studio_of

    settings = load_settings()
    client = label_studio_of(settings)
    described = client.project(project)
    total, fitting = int(described.get("task_number") or 0), _fitting(settings)
    results = _results(client, described, settings=settings, most=fitting)
    count: Counter[str] = Counter()
    left_out: list["Warmed"] = []
    for warmed in _with_progress(results, total=min(total, fitting)):
        count["computed" if warmed.computed else "left out" if warmed.why else "there before"] += 1
        if warmed.why:
            left_out.append(warmed)
    out.print(f"project {project}: {count['computed']} embedded, {count['there before']} were there before")
    _tell(left_out, beyond=max(0, total - fitting), settings=settings)


def _results(client: "LabelStudio", project: "Project", *, settings: Settings, most: int) -> Iterator["Warmed"]:
    from backend.images.source import ImageSource
    from backend.labelstudio.label_config import parse_label_config
    from backend.registry.opening import open_registry
    from backend.sam.loading import load_base
    from backend.serving.machine import open_machine
    from backend.serving.slot import ModelSlot
    from backend.serving.task_image import TaskImage
    from backend.serving.warming import warm_tasks

    os.nice(10)  # a server or a training on this machine goes first
    config = parse_label_config(str(project["label_config"]))
    base = load_base(
        settings.sam.model, cache_dir=settings.cache.dir, device=settings.sam.device, dtype=settings.sam.dtype
    )
    slot = ModelSlot(base, open_registry(settings))
    with suppress(NotFound, Unavailable):  # without the registry we lose the adapter, not the command
        slot.look()
    base = slot.snapshot(int(project["id"])).predictor.base  # with the champion's adapter, if it has one
    machine = open_machine(base, settings)
    source = ImageSource(settings=settings, label_studio=client)
    tasks = islice(client.tasks(int(project["id"])), most)
    try:
        yield from warm_tasks(
            (TaskImage(task=task, config=config, images=source) for task in tasks), embeddings=machine.embeddings
        )
    finally:
        machine.close()


def _fitting(settings: Settings) -> int:
    """Return how many embeddings fit on disk; more would evict the first."""
    return (settings.cache.disk_mib << 20) // ((2 << 20) + 1024)


def _with_progress(results: Iterable["Warmed"], *, total: int) -> Iterator["Warmed"]:
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        line = progress.add_task("embedding", total=total)
        for warmed in results:
            yield warmed
            progress.advance(line)


def _tell(left_out: list["Warmed"], *, beyond: int, settings: Settings) -> None:
    for warmed in left_out[:_SHOWN]:
        out.print(f"left out: task {warmed.task_id}: {warmed.why}")
    if len(left_out) > _SHOWN:
        out.print(f"left out: {write_amount(len(left_out) - _SHOWN, 'more task')}")
    if beyond:
        needed_mib = settings.cache.disk_mib + 2 * beyond + 1
        out.print(
            f"left out: {write_amount(beyond, 'more task')} for which SAMLOOP_DISK_MIB={settings.cache.disk_mib} has "
            f"no room: set it to {needed_mib} or more",
        )
