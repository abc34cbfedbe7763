"""`samloop train` and `samloop evaluate`: with Label Studio and a queue, or offline on an export."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from backend.cli.console import AsJson, err, load_settings, out, print_json, project_option, write_figure
from backend.errors import BadInput
from backend.files.outputs import new_folder
from backend.registry.checkpoint import REPORT_FILE
from backend.registry.figures import Evaluation
from backend.settings.bounds import EPOCHS, TRAINING_SECONDS, Head, Method
from backend.work.progress import write_progress

Export = Annotated[
    Path | None, typer.Option(help="Label Studio's JSON export.", exists=True, dir_okay=False, readable=True)
]
Images = Annotated[
    Path | None, typer.Option(help="Folder with the images, looked up by file name.", exists=True, file_okay=False)
]


def train(  # noqa: PLR0913, PLR0917 - the command's options are fixed
    project: Annotated[int | None, project_option("Queue a training of this project.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it ends.")] = False,  # noqa: FBT002 - typer's flags
    export: Export = None,
    images: Images = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the checkpoint.", file_okay=False)] = None,
    method: Annotated[
        Method | None,
        typer.Option(help="What the training changes; default: SAMLOOP_METHOD.", show_default=False),
    ] = None,
    head: Annotated[
        Head,
        typer.Option(help="semantic: also train a head that pre-annotates without prompts."),
    ] = "promptable",
    epochs: Annotated[
        int | None,
        typer.Option(
            min=int(EPOCHS.lowest),
            max=int(EPOCHS.highest),
            help="Most epochs, within --seconds; default: the recipe decides.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=TRAINING_SECONDS.lowest, help="Stop training after so many seconds; default: SAMLOOP_TRAIN_SECONDS."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of every random draw: the same seed gives the same weights.")
    ] = 0,
) -> None:
    """Train on a project (--project, queued) or on an export (--export, without Label Studio)."""
    if project is not None:
        if export or images or out_dir:
            raise BadInput("--project trains in the queue and --export offline: give either, not both")
        from backend.cli.queue import train_project

        train_project(project, wait=wait)
        return
    if not (export and images and out_dir):
        raise BadInput("give --project N, or --export FILE --images DIR --out DIR")
    out_dir = new_folder(out_dir)  # before PyTorch loads: a bad path is told at once
    from finetuner.offline import train_export

    manifest = train_export(
        export,
        images,
        out_dir,
        settings=load_settings(),
        method=method,
        head=head,
        epochs=epochs,
        seconds=seconds,
        seed=seed,
        progress=print_progress,
    )
    out.print(f"{manifest.version} is in {out_dir}: `samloop evaluate --checkpoint {out_dir}` measures it again")
    if forgetting := manifest.metrics.forgetting:
        out.print(forgetting.sentence, soft_wrap=True, highlight=False)
    out.print(f"the report: {(out_dir / REPORT_FILE).absolute()}", soft_wrap=True)


def print_progress(phase: str, **figures: float | str) -> None:
    """Print a line a step to stderr, and a text of several lines below it."""
    tables = [value for value in figures.values() if isinstance(value, str) and "\n" in value]
    for text in (f"{phase:<11} {write_progress(figures)}", *tables):
        err.print(text, markup=False, highlight=False, soft_wrap=True)
    sys.stderr.flush()


def evaluate(
    export: Export = None,
    images: Images = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the checkpoint to measure; default: the base model alone.", exists=True, file_okay=False
        ),
    ] = None,
    champion: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint to compare it with.", exists=True, file_okay=False)
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Measure the base model, and a checkpoint against it, on the held-out images of an export."""
    if not (export and images):
        raise BadInput("give --export FILE and --images DIR (and --checkpoint DIR to compare with the base model)")
    from finetuner.offline import evaluate_export

    report = evaluate_export(
        export,
        images,
        checkpoint=checkpoint,
        champion=champion,
        settings=load_settings(),
        progress=print_progress,
    )
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)


def _print_report(report: Evaluation) -> None:
    table = Table(title=f"{report.objects} held-out objects on {report.images} images")
    models = {name: figures for name in ("base", "served", "candidate") if (figures := report.model(name))}
    compared = {"base": report.difference, "served": report.difference_to_served}
    differences = {name: difference for name, difference in compared.items() if difference is not None}
    headings = {"base": "base", "served": "champion", "candidate": "candidate"}
    for heading in ("prompt", "metric", *(headings[name] for name in models)):
        table.add_column(heading)
    for name in differences:
        table.add_column(f"to the {headings[name]} [95 %]")
    for prompt in ("box", "point"):
        for metric in ("iou", "boundary_iou", "over_area", "under_area", "hd95_px"):
            table.add_row(
                prompt,
                metric,
                *(write_figure(figures.with_prompt(prompt).figure(metric)) for figures in models.values()),
                *(
                    "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference[prompt][metric])
                    for difference in differences.values()
                ),
            )
    out.print(table)
    for name, figures in models.items():
        if figures.semantic is not None:
            out.print(f"without a prompt, {headings[name]}: IoU {write_figure(figures.semantic.iou)} over labels")
    if report.note:
        out.print(report.note, soft_wrap=True)
