"""`samloop train` and `samloop evaluate`: with Label Studio and a queue, or offline on an export."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import AsJson, err, find_program, load_settings, out, print_json, project_option
from backend.cli.learning.progress import show_progress
from backend.errors import BadInput
from backend.files.outputs import new_folder
from backend.settings.bounds import EPOCHS, TRAINING_SECONDS, Head, Method

if TYPE_CHECKING:
    from backend.registry.figures import Evaluation
    from backend.registry.metrics import Verdict

Export = Annotated[
    Path | None, typer.Option(help="Label Studio's JSON export.", exists=True, dir_okay=False, readable=True)
]
Images = Annotated[
    Path | None, typer.Option(help="Folder with the images, looked up by file name.", exists=True, file_okay=False)
]
LabelConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--label-config",
        help="The project's labelling interface (XML), which says where a task's images are; default: guessed from the "
        "export's regions and data.",
        exists=True,
        dir_okay=False,
    ),
]


def train(  # noqa: PLR0913, PLR0917 - the command's options are fixed
    project: Annotated[int | None, project_option("Queue a training of this project.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With --project: follow the training until it ends.")] = False,  # noqa: FBT002 - typer's flags
    export: Export = None,
    images: Images = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for the checkpoint.", file_okay=False)] = None,
    method: Annotated[
        Method | None,
        typer.Option(help="What the training changes; default: SAMLOOP_METHOD.", show_default=False),
    ] = None,
    head: Annotated[
        Head | None,
        typer.Option(help="semantic: also train a head that pre-annotates without prompts; default: promptable."),
    ] = None,
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
        int | None,
        typer.Option(min=0, help="Seed of every random draw: the same seed gives the same weights; default: 0."),
    ] = None,
    label_config: LabelConfigFile = None,
) -> None:
    """Train on a project, in the queue, or on an export, offline and without Label Studio.

    All options but --project and --wait are for an export: a training of a project goes by its worker's settings.

    Examples: `samloop train --project 1 --wait`, and
    `samloop train --export export.json --images images/ --out checkpoint/`
    """
    if project is not None:
        _refuse_options(
            export=export,
            images=images,
            out=out_dir,
            method=method,
            head=head,
            epochs=epochs,
            seconds=seconds,
            seed=seed,
            label_config=label_config,
        )
        from backend.cli.queue import train_project

        train_project(project, wait=wait)
        return
    if not (export and images and out_dir):
        raise BadInput("give --project N, or --export FILE --images DIR --out DIR")
    settings, out_dir = load_settings(), new_folder(out_dir)  # before PyTorch loads: a mistake is told at once
    from backend.cli.learning.results import draw_results
    from finetuner.offline import train_export

    with show_progress(err) as progress:
        manifest = train_export(
            export,
            images,
            out_dir,
            settings=settings,
            method=method,
            head=head or "promptable",
            epochs=epochs,
            seconds=seconds,
            seed=seed or 0,
            label_config=label_config,
            progress=progress,
        )
    out.print(draw_results(manifest.metrics, candidate="trained"))
    if forgetting := manifest.metrics.forgetting:
        out.print(forgetting.sentence)
    for line in name_next_steps(export, images, out_dir, version=manifest.version, verdict=manifest.verdict):
        out.print(line)


def _refuse_options(**offline: object) -> None:
    """Refuse the options of an offline training that were given for the training of a project.

    Raises:
        BadInput: an option has a value; the message names every such option.
    """
    if given := [f"--{name.replace('_', '-')}" for name, value in offline.items() if value is not None]:
        raise BadInput(
            f"{', '.join(given)} cannot be used with --project: a training of a project goes by its worker's settings, "
            "such as SAMLOOP_METHOD; train on an export (--export) to use these options"
        )


def name_next_steps(
    export: Path, images: Path, checkpoint: Path, *, version: str, verdict: "Verdict"
) -> tuple[str, ...]:
    """Say where the checkpoint is, whether it is better, and the commands that may follow, to be run as printed."""
    from backend.registry.checkpoint import REPORT_FILE

    program = find_program()
    measure = [program, "evaluate", "--export", export, "--images", images, "--checkpoint", checkpoint]
    return (
        f"{version} is in {checkpoint}",
        f"the verdict:       {_write_verdict(verdict)}",
        f"the report:        {(checkpoint / REPORT_FILE).absolute()}",
        f"measure it again:  {shlex.join(map(str, measure))}",
        f"serve it:          SAMLOOP_MODEL={shlex.quote(str(checkpoint))} {shlex.quote(program)} up",
    )


def _write_verdict(verdict: "Verdict") -> str:
    """Return the outcome with its first reason."""
    if not verdict.reasons:
        return "not judged"
    outcome = "better" if verdict.promote else "not surely better, so that no project would serve it by itself"
    return f"{outcome}: {verdict.reasons[0]}"


def evaluate(  # noqa: PLR0913, PLR0917 - the command's options are fixed
    export: Export = None,
    images: Images = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the checkpoint to measure; default: the base model alone.", exists=True, file_okay=False
        ),
    ] = None,
    champion: Annotated[
        Path | None, typer.Option(help="Folder of another checkpoint to compare it with.", exists=True, file_okay=False)
    ] = None,
    label_config: LabelConfigFile = None,
    as_json: AsJson = False,  # noqa: FBT002 - typer's flags
) -> None:
    """Measure the base model, and a checkpoint against it, on the held-out images of an export.

    Example: `samloop evaluate --export export.json --images images/ --checkpoint checkpoint/`
    """
    if not (export and images):
        raise BadInput("give --export FILE and --images DIR (and --checkpoint DIR to compare with the base model)")
    settings = load_settings()
    from finetuner.offline import evaluate_export

    with show_progress(err) as progress:
        report = evaluate_export(
            export,
            images,
            checkpoint=checkpoint,
            champion=champion,
            settings=settings,
            label_config=label_config,
            progress=progress,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report)


def print_report(report: "Evaluation") -> None:
    """Print what was measured, and what that is worth."""
    from backend.cli.learning.results import draw_results

    out.print(draw_results(report))
    if report.note:
        out.print(report.note)
