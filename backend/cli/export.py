"""`samloop export`: a served version, or a checkpoint, as a folder that other programs load."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from backend.cli.console import load_settings, out, project_option
from backend.errors import BadInput
from backend.files.outputs import new_folder
from backend.registry.protocol import Registry


def export(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write; it must be new or empty.")],
    how: Annotated[
        Literal["hf", "sam", "onnx"],
        typer.Option(
            "--format",
            help="hf: transformers' save_pretrained; sam: segment-anything's (MobileSAM's) state dict; "
            "onnx: the image encoder, and the prompt encoder with the mask decoder.",
        ),
    ],
    project: Annotated[int | None, project_option("Export the version that serves this project.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Export the checkpoint in this folder.", exists=True, file_okay=False)
    ] = None,
) -> None:
    """Write a fine-tuned model for other programs, with a model card."""
    if (project is None) == (checkpoint is None):
        raise BadInput("give --project N or --checkpoint DIR, one of the two")
    out_dir = new_folder(out_dir)
    from backend.registry.checkpoint import read_manifest
    from backend.registry.opening import open_registry
    from backend.sam.export import folder as exporting
    from backend.sam.loading import base_name, load_as_stored

    settings = load_settings()
    if checkpoint is None and project is not None:
        registry = open_registry(settings)
        champion = registry.champion(project)
        if champion is None or champion.version is None:
            raise BadInput(_why_none(registry, project))
        checkpoint = registry.materialise(champion.version)
    name = str(checkpoint) if checkpoint else base_name(settings.sam.model, device=settings.sam.device)
    manifest = read_manifest(checkpoint) if checkpoint else None
    origin = exporting.Origin(
        load_as_stored(name, cache_dir=settings.cache.dir, otherwise=settings.sam.model), manifest
    )
    folder = exporting.export(origin, how=how, out=out_dir)
    out.print(f"{origin.version} is in {folder}: {exporting.CARD_FILE} in it says how to load it", soft_wrap=True)


def _why_none(registry: Registry, project: int) -> str:
    if not registry.versions(project):
        return (
            f"project {project} has no version to export, for it was never trained: `samloop train --project {project} "
            "--wait` trains it"
        )
    return (
        f"project {project} is served by the base model: promote a version to export it (`samloop versions --project "
        f"{project}` lists them)"
    )
