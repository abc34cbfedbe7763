"""The command line `samloop`: `python -m backend` and the console script are the same."""

import typer

app = typer.Typer(
    name="samloop",
    help="Segment Anything for Label Studio: pre-annotates, learns from annotations, swaps the better model in.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
