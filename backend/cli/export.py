"""`samloop export`: a served version, or a checkpoint, as a folder that other programs load."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backend.cli.console import load_settings, out, project_option
from backend.errors import BadInput, NotFound
from backend.files.outputs import new_folder
from backend.ids import is_version_of

if TYPE_CHECKING:
    from backend.registry.protocol import Registry


def export(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write; it must be new or empty.")],
    how: Annotated[
        Literal["hf", "sam", "onnx"],
        typer.Option(
            "--format",
            help="hf: a folder for transformers; sam: a state dict for the code that the model's authors published; "
            "onnx: two graphs, the image encoder, and the prompt encoder with the mask decoder.",
        ),
    ],
    project: Annotated[
        int | None, project_option("Export the version that serves this project, or the version that --version names.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Export the checkpoint in this folder.", exists=True, file_okay=False)
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="With --project: the version to export, by its long name or its short name on the pages (v3-1a2b3c)."
        ),
    ] = None,
) -> None:
    """Write a fine-tuned model for other programs, with a model card.

    Examples: `samloop export --project 1 --format onnx --out exported/`, and
    `samloop export --checkpoint checkpoint/ --format hf --out exported/`
    """
    if (project is None) == (checkpoint is None):
        raise BadInput("give --project N or --checkpoint DIR, one of the two")
    if version is not None and project is None:
        raise BadInput(f"--version {version} belongs to a project: give --project N, not --checkpoint DIR")
    out_dir = new_folder(out_dir)
    from backend.registry.checkpoint import read_manifest
    from backend.registry.opening import open_registry
    from backend.sam.export import folder as exporting
    from backend.sam.loading import base_name, load_as_stored

    settings = load_settings()
    if checkpoint is None and project is not None:
        registry = open_registry(settings)
        checkpoint = registry.materialise(_choose_version(registry, project, wanted=version))
    name = str(checkpoint) if checkpoint else base_name(settings.sam.model, device=settings.sam.device)
    manifest = read_manifest(checkpoint) if checkpoint else None
    origin = exporting.Origin(
        load_as_stored(name, cache_dir=settings.cache.dir, otherwise=settings.sam.model), manifest
    )
    folder = exporting.export(origin, how=how, out=out_dir)
    out.print(f"{origin.version} is in {folder}: {exporting.CARD_FILE} in it says how to load it")


def _choose_version(registry: "Registry", project: int, *, wanted: str | None) -> str:
    """Return the long name of the wanted version, or of the served one.

    Raises:
        BadInput: nothing but the base model serves the project.
        NotFound: the project has no version of this name.
    """
    from backend.registry.lookup import find_version

    if wanted is not None:
        if is_version_of(name := find_version(registry, wanted, project_id=project), project):
            return name
        raise NotFound(f"project {project} has no version {wanted}; `samloop versions --project {project}` lists them")
    champion = registry.champion(project)
    if champion is None or champion.version is None:
        raise BadInput(_why_none(registry, project))
    return champion.version


def _why_none(registry: "Registry", project: int) -> str:
    if not registry.versions(project):
        return (
            f"project {project} has no version to export, for it was never trained: `samloop train --project {project} "
            "--wait` trains it"
        )
    return (
        f"project {project} is served by the base model: promote a version to export it (`samloop versions --project "
        f"{project}` lists them)"
    )
