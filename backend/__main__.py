"""The command line `samloop`: `python -m backend` and the console script are the same."""

from importlib import metadata
from typing import Annotated

import typer

from backend.cli import export, machine, predict, project, queue, refresh, registry, serving, warm
from backend.cli.console import report_plainly
from backend.cli.demo import command as demo
from backend.cli.learning import commands as learning
from backend.cli.order import command as order
from backend.files.own_process import prepare_process

app = typer.Typer(
    name="samloop",
    help="Segment Anything for Label Studio: pre-annotates, learns from annotations, swaps the better model in.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # a docstring's lines are one paragraph
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's flags
    """Print which samloop this is, and end."""
    if is_asked:
        typer.echo(f"samloop {metadata.version('samloop')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[  # noqa: FBT002 - typer's flags
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Segment Anything for Label Studio: pre-annotates, learns from annotations, swaps the better model in."""


_PANELS = {
    "Run it": (demo.demo, serving.up, serving.serve, serving.worker, project.connect, machine.doctor),
    "Train and measure": (learning.train, learning.evaluate, predict.predict, export.export),
    "Look after a project": (
        registry.versions,
        registry.promote,
        registry.rollback,
        queue.status,
        queue.cancel,
        refresh.refresh,
        order.order,
        warm.warm,
    ),
    "Look up": (machine.weights,),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.command("settings", rich_help_panel="Look up")(machine.settings_table)


def main() -> None:
    """Run the command line. An error of ours prints one sentence and exits with status 1."""
    prepare_process()
    with report_plainly():
        app()


if __name__ == "__main__":
    main()
