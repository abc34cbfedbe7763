"""`samloop demo`: the whole loop on this machine, by hand or unattended."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from backend.cli.console import print_json, setup_logging
from backend.files.outputs import usable_folder
from backend.settings import Settings

SampleName = Literal["nuclei", "photographs"]  # those of SETS


def demo(
    once: Annotated[bool, typer.Option("--once", help="Run the whole loop unattended, then stop.")] = False,  # noqa: FBT002 - typer's flags
    sample: Annotated[SampleName, typer.Option(help="The images of the sample project.")] = "nuclei",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The backend's port; 0: any free port.")] = 9090,
    label_studio_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Label Studio's port; 0: any free port.")
    ] = 8080,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Folder for all data; a later demo in the same folder continues; default: a new folder."
        ),
    ] = None,
) -> None:
    """Start a real Label Studio with a sample project, the backend, a worker and the embedded Valkey."""
    from backend.cli.demo.sets import SETS
    from backend.cli.demo.story import run_demo

    directory = directory and usable_folder(directory)
    settings = Settings.from_env()
    setup_logging(settings.backend.log_level)
    outcome = run_demo(
        settings,
        sample=SETS[sample],
        once=once,
        port=port,
        label_studio_port=label_studio_port,
        directory=directory,
    )
    if outcome is not None:
        print_json(outcome.to_json())
        if not outcome.promoted:
            raise SystemExit(1)
