"""`samloop versions`, `promote` and `rollback`: which version serves a project."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from backend.cli.console import AsJson, ProjectOption, load_settings, out, print_json, show, write_figure, write_time
from backend.errors import BadInput
from backend.ids import VersionName

if TYPE_CHECKING:
    from backend.registry.checkpoint import Manifest

Reason = Annotated[str, typer.Option(help="The reason to record with the decision.")]


def versions(project: ProjectOption, as_json: AsJson = False) -> None:  # noqa: FBT002 - typer's flags
    """List a project's versions, oldest first, and mark the served version."""
    from backend.registry.figures import ModelFigures
    from backend.registry.opening import open_registry

    registry = open_registry(load_settings())
    champion = registry.champion(project)
    served = champion.version if champion else None
    manifests = registry.versions(project)
    rows = [_row(manifest, served=served) for manifest in manifests]

    def table() -> None:
        columns = ("version", "when", "method", "one click", "box", "verdict", "served")
        grid = Table(*columns, title=f"Project {project}", caption="one click, box: mean IoU on held-out images")
        grid.add_row("(base model)", *[""] * 5, "yes" if served is None else "")
        for manifest in manifests:
            figures = manifest.metrics.candidate or ModelFigures()
            grid.add_row(
                VersionName.parse(manifest.version).short,
                write_time(manifest.created_at),
                manifest.method,
                *(write_figure(figures.with_prompt(prompt).iou) for prompt in ("point", "box")),
                "better" if manifest.verdict.promote else manifest.verdict.sentence or "not judged",
                "yes" if manifest.version == served else "",
            )
        out.print(grid)

    show({"project": project, "served": served, "versions": rows}, as_json=as_json, table=table)


def _row(manifest: "Manifest", *, served: str | None) -> dict[str, object]:
    return {
        "version": manifest.version,
        "short": VersionName.parse(manifest.version).short,
        "created_at": manifest.created_at,
        "method": manifest.method,
        "parent": manifest.parent,
        "served": manifest.version == served,
        "verdict": manifest.verdict.to_json(),
        "figures": None if (figures := manifest.metrics.candidate) is None else figures.to_json(),
    }


def promote(
    version: Annotated[
        str,
        typer.Argument(
            help="The version to serve, by its long name or its short name on the pages (v3-1a2b3c); or `base`."
        ),
    ],
    project: ProjectOption,
    reason: Reason = "promoted by hand",
    as_json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Serve this version from now on; running servers switch within two seconds."""
    _decide(project, None if version == "base" else version, reason=reason, as_json=as_json)


def rollback(
    project: ProjectOption,
    version: Annotated[
        str | None,
        typer.Argument(help="The version to serve, by its long or short name, or `base`; default: the version before."),
    ] = None,
    reason: Reason = "rolled back by hand",
    as_json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Serve an earlier version again; running servers switch within two seconds."""
    from backend.registry.opening import open_registry

    if version is not None:
        _decide(project, None if version == "base" else version, reason=reason, as_json=as_json)
        return
    registry = open_registry(load_settings())
    history = registry.history(project)
    if not history:
        raise BadInput(f"project {project} has served nothing but the base model: there is nothing to roll back to")
    before = history[-2].version if len(history) > 1 else None
    # The decision we read must still be the latest: otherwise this would undo a promotion made in between.
    _decide(project, before, reason=reason, as_json=as_json, expected=history[-1].number)


def _decide(project: int, version: str | None, *, reason: str, as_json: bool, expected: int | None = None) -> None:
    from backend.registry.lookup import find_version
    from backend.registry.opening import open_registry

    registry = open_registry(load_settings())
    if version is not None:
        version = find_version(registry, version, project_id=project)
    pointer = registry.promote(project, version, reason=reason, expected=expected)
    if as_json:
        print_json({"project": project, "number": pointer.number, "version": pointer.version, "at": pointer.at})
    else:
        out.print(
            f"project {project} is served by {pointer.version or 'the base model'} from decision {pointer.number} on"
        )
