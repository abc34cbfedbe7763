"""samloop's processes as a machine runs them: their environment, their start and their end."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Self

from fakes.label_studio import FakeLabelStudio


def make_environ(
    *, queue_url: str, studio: FakeLabelStudio, model: Path, models: Path | str, cache: Path, **settings: str
) -> dict[str, str]:
    """The environment of a server or a worker on a CPU, of which a process has one core.

    Args:
        queue_url: the address of the queue's Redis.
        studio: the Label Studio.
        model: the base.
        models: the registry, a folder or an address.
        cache: the folder of converted weights and embeddings.
        settings: further variables by name.
    """
    return os.environ | {
        "REDIS_URL": queue_url,
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "MODEL_DIR": str(models),
        "SAMLOOP_CACHE_DIR": str(cache),
        "SAMLOOP_MODEL": str(model),
        "SAMLOOP_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
        **settings,
    }


class Processes:
    """A context manager that starts processes of samloop, and ends all of them."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(120)

    def start(
        self, *command: str, environ: dict[str, str], output: IO[bytes] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start `samloop` with this command, in a session of its own; `output` receives what it says."""
        process = subprocess.Popen(
            (sys.executable, "-m", "backend", *command),
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._started.append(process)
        return process
