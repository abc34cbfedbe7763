"""Our commands, run in this process: a process of its own takes seconds to load what is loaded here."""

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from subprocess import CompletedProcess
from unittest.mock import patch


def run_samloop(*words: str, environ: Mapping[str, str]) -> CompletedProcess[str]:
    """Return how `samloop` with these words ends, and what it prints, as `subprocess.run` tells it.

    Args:
        words: the command and its options.
        environ: the whole environment of the command.
    """
    from backend.__main__ import app
    from backend.cli import console

    stdout, stderr, status = StringIO(), StringIO(), 0
    # Rich reads the width when a console is made, which was long ago here.
    width = int(environ.get("COLUMNS", "80"))
    with (
        patch.object(console.out, "_width", width),
        patch.object(console.err, "_width", width),
        patch.dict(os.environ, environ, clear=True),
        patch.object(sys, "argv", ["samloop", *words]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            with console.report_plainly():
                app()
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    return CompletedProcess(["samloop", *words], status, stdout.getvalue(), stderr.getvalue())
