"""`samloop` as processes that start in a second or two: forks of a process that has imported PyTorch once for all."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from support.hosts import Host, enter_namespace

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["backend.server.app", "backend.server.listening", "s3fs", "transformers.models.sam.modeling_sam"]
)


def start_samloop(*arguments: str, host: Host, environ: Mapping[str, str], log: Path) -> BaseProcess:
    """`samloop` with these arguments on a host, with this environment and no other; it writes to the end of `log`.

    It is ended with the process that calls this.
    """
    process = _CONTEXT.Process(target=_run, args=(arguments, host.namespace, dict(environ), str(log)), daemon=True)
    process.start()
    return process


def _run(arguments: tuple[str, ...], namespace: int | None, environ: dict[str, str], log: str) -> None:
    from backend.__main__ import main

    os.environ.clear()
    os.environ.update(environ)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["samloop", *arguments]
    with enter_namespace(namespace):
        main()
