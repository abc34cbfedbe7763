"""`samloop weights`, `settings` and `doctor`: what this machine has, and what it lacks."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from backend.amounts import write_amount
from backend.cli.console import load_settings, out, project_option
from backend.cli.doctor.room import check_disk, check_memory
from backend.errors import SamloopError, SettingsError, Unavailable
from backend.settings import Settings, report_unknown_variables, settings_tables

_LITTLE_MIB = 512  # less free space than this harms other programs too


def weights(name: Annotated[str | None, typer.Argument(help="Fetch, verify and convert this model.")] = None) -> None:
    """Fetch and verify a base model's weights; without a name, list the base models."""
    from backend.sam.weights import base_weights, list_weights

    settings = load_settings()
    if name is not None:
        out.print(f"{name}: {base_weights(name, cache_dir=settings.cache.dir)}")
        return
    table = Table("model", "parameters", "licence", "here", Column("published at", overflow="fold"))
    for known in list_weights(cache_dir=settings.cache.dir):
        size, licence, source = "", "", "in the cache alone"
        if published := known.published:
            size, licence, source = f"{published.millions} million", published.licence, published.source
        table.add_row(known.name, size, licence, "yes" if known.folder else "no", source)
    out.print(table)
    out.print(f"samloop looks in {settings.cache.dir / 'weights'}, then where they were published.")


def settings_table() -> None:
    """List every environment variable, with its default, its values and what it decides, as docs/settings.md does."""
    sys.stdout.write(settings_markdown())


def settings_markdown() -> str:
    """Return the settings as Markdown tables, one for every group: variable, default, values, what it decides."""
    lines: list[str] = []
    for about, rows in settings_tables().items():
        lines += [f"## {about}", "", "| Variable | Default | Values | What it decides |", "| --- | --- | --- | --- |"]
        for row in rows:
            default = f"`{row.default}`" if row.default else ""
            text = row.text.replace("|", "\\|")
            lines.append(f"| `{row.variable}` | {default} | {row.values} | {text} |")
        lines.append("")
    return "\n".join(lines)


def doctor(
    project: Annotated[int | None, project_option("Check this Label Studio project too.")] = None,
) -> None:
    """Check settings, Label Studio, queue, registry, weights, memory and a project; say how to mend what is wrong.

    Prints a line for every check, and exits with 1 if anything is wrong.
    """
    healthy = True
    for name, check in _checks(project):
        try:
            out.print(f"ok    {name}: {check()}")
        except SamloopError as fault:
            healthy = False
            out.print(f"WRONG {name}: {fault}")
    if not healthy:
        raise SystemExit(1)


def _checks(project: int | None) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "settings", _settings
    try:
        settings = Settings.from_env()
    except SamloopError:
        return  # its line says why; no further check is possible
    yield "label studio", lambda: _label_studio(settings)
    yield "queue", lambda: _queue(settings)
    yield "refreshes", lambda: _refreshes(settings)
    yield "registry", lambda: _registry(settings)
    yield "weights", lambda: _weights(settings)
    yield "memory", lambda: check_memory(settings)
    yield "embeddings", lambda: _embeddings(settings)
    if "://" not in str(settings.registry.model_dir):
        yield "disk", lambda: check_disk(Path(settings.registry.model_dir))
    if project is not None:
        yield from _project_checks(project, settings)


def _project_checks(project: int, settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    from backend.cli.doctor.project import ProjectDoctor
    from backend.cli.doctor.server import check_server
    from backend.labelstudio.api.client import label_studio_of

    yield "server", lambda: check_server(settings.backend.url, project_id=project)
    try:
        client = label_studio_of(settings)
    except SamloopError:
        return  # its line told why
    yield from ProjectDoctor(client, project, settings=settings).checks()


def _settings() -> str:
    Settings.from_env()
    if unknown := report_unknown_variables():
        raise SettingsError("; ".join(unknown))
    return "every variable is valid"


def _label_studio(settings: Settings) -> str:
    from backend.labelstudio.api.client import label_studio_of

    client = label_studio_of(settings)
    return f"{client.url} knows us as {client.whoami()}"


def _queue(settings: Settings) -> str:
    from backend.cli.queue import queue_url
    from backend.work.connection import connect
    from backend.work.queue import count_listeners

    count = count_listeners(connect(queue_url(settings)))
    if not count:
        raise Unavailable("the queue answers, but no worker listens: start `samloop worker` (or `samloop up`)")
    return f"the queue answers; {write_amount(count, 'worker listens', 'workers listen')}"


def _refreshes(settings: Settings) -> str:
    from backend.cli.queue import queue_url
    from backend.work.connection import connect
    from backend.work.jobs import REFRESHES
    from backend.work.queue import count_listeners

    if not settings.predictions.refresh:
        return "switched off (SAMLOOP_REFRESH)"
    count = count_listeners(connect(queue_url(settings)), work=REFRESHES)
    if not count:
        raise Unavailable(
            "every promotion requests a refresh (SAMLOOP_REFRESH), but no worker refreshes: start "
            "`samloop worker --refresh` (or `samloop up`)"
        )
    return write_amount(count, "worker listens", "workers listen")


def _registry(settings: Settings) -> str:
    from backend.registry.opening import open_registry

    registry = open_registry(settings)
    registry.sweep()
    return f"{settings.registry.model_dir} is writable and holds {write_amount(len(registry.projects()), 'project')}"


def _embeddings(settings: Settings) -> str:
    from backend.sam.embeddings.files import DiskEmbeddings

    disk = DiskEmbeddings.of(settings)
    free_mib = disk.free_bytes() >> 20  # before counting its files: this reports what is wrong with the folder
    used_mib = disk.usage_bytes() >> 20
    if free_mib < min(_LITTLE_MIB, settings.cache.disk_mib - used_mib):
        raise Unavailable(
            f"{disk.folder} holds {used_mib} of SAMLOOP_DISK_MIB={settings.cache.disk_mib} MiB, and the disk has only "
            f"{free_mib} MiB left: free some space, or set SAMLOOP_DISK_MIB lower"
        )
    return f"{disk.folder} is writable and holds {used_mib} of {settings.cache.disk_mib} MiB"


def _weights(settings: Settings) -> str:
    from backend.sam.loading import base_name
    from backend.sam.weights import base_weights

    name = base_name(settings.sam.model, device=settings.sam.device)
    return f"{name} in {base_weights(settings.sam.model or name, cache_dir=settings.cache.dir)}"
