"""The command line `samloop`: `python -m backend` and the console script are the same."""

import typer

from backend.commands import demo, export, learning, machine, order, predict, project, refresh, registry, serving, warm
from backend.commands.console import told_plainly
from backend.processes import keep_freed_memory, share_cores

app = typer.Typer(
    name="samloop",
    help="Segment Anything for Label Studio: pre-annotates, learns from annotations, swaps the better model in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(serving.up)
app.command()(serving.serve)
app.command()(serving.worker)
app.command()(project.connect)
app.command()(warm.warm)
app.command()(machine.doctor)
app.command()(learning.train)
app.command()(learning.evaluate)
app.command()(predict.predict)
app.command()(registry.versions)
app.command()(registry.promote)
app.command()(registry.rollback)
app.command()(export.export)
app.command()(refresh.refresh)
app.command()(order.order)
app.command()(machine.weights)
app.command("settings")(machine.settings_table)


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit status 1."""
    share_cores()
    keep_freed_memory()
    with told_plainly():
        app()


if __name__ == "__main__":
    main()
