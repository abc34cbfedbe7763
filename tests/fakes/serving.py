"""A real `samloop serve` in a process of its own, for tests and benchmarks that look at it from outside."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from support.waiting import wait_for_model

from backend.cli.demo.label_studio import free_port
from backend.work.embedded import Valkey

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A running server: where it answers, its process, its log, and its environment, in which a worker can work."""

    url: str
    pid: int
    log: Path
    environ: dict[str, str]

    def metrics(self) -> dict[str, float]:
        """The figures of /metrics that are samloop's own."""
        lines = requests.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        figures = (line.rpartition(" ") for line in lines if re.match(r"samloop_\w+ ", line))
        return {name: float(value) for name, _, value in figures}

    def memory_bytes(self) -> int:
        """What the process has resident."""
        return self._status("VmRSS") << 10

    def threads(self) -> int:
        """Its threads, OpenMP's too."""
        return self._status("Threads")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE).group(1))


@contextmanager
def served(folder: Path, *, environ: Mapping[str, str], weights: Path | None = None) -> Iterator[Served]:
    """Start it with empty caches and registry below `folder`, wait until it is ready, stop it in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    cache, log = folder / "cache", folder / "server.log"
    cache.mkdir()
    if weights is not None and weights.is_dir():
        (cache / "weights").symlink_to(weights)
    port = free_port()
    with Valkey(folder / "queue") as valkey, log.open("wb") as file:
        whole = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": valkey.start(),
            "MODEL_DIR": str(folder / "models"),
            "SAMLOOP_CACHE_DIR": str(cache),
            **environ,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "backend", "serve", "--port", str(port)],
            stdout=file,
            stderr=file,
            env=whole,
        )
        running = Served(f"http://127.0.0.1:{port}", process.pid, log, whole)
        try:
            wait_for_model(running.url, process=process, log=log)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
