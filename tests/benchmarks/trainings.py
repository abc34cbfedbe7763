"""Trainings by `samloop train` and their figures by `samloop evaluate`: the commands that docs/results.md names."""

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.pages import say
from safetensors import safe_open

from backend.images.folder import find_image
from backend.registry.checkpoint import MANIFEST_FILE
from backend.sam.embeddings import domain
from backend.sam.semantic import head
from backend.settings import Settings


@dataclass(frozen=True, slots=True)
class Trained:
    """`train_s`: wall time of the command, encoding included. `report`: what `samloop evaluate --json` printed."""

    method: str
    folder: Path
    manifest: dict[str, Any]
    train_s: float
    report: dict[str, Any]

    @property
    def parameters(self) -> int:
        """How many numbers were trained for prompts: what the checkpoint holds, less a semantic head and a domain."""
        return self._count(lambda name: not name.startswith((head.PREFIX, domain.PREFIX)))

    @property
    def head_parameters(self) -> int:
        """How many numbers its semantic head holds."""
        return self._count(lambda name: name.startswith(head.PREFIX))

    def _count(self, counts: Callable[[str], bool]) -> int:
        found = 0
        for path in self.folder.rglob("*.safetensors"):
            with safe_open(path, "pt") as file:
                found += sum(math.prod(file.get_slice(name).get_shape()) for name in filter(counts, file.keys()))
        return found


@dataclass(slots=True)
class Bench:
    """An export and a folder for checkpoints; `seconds` bounds a training. One that was done is not done again.

    `failed` names the trainings of `several` that came to nothing.
    """

    export: Path
    folder: Path
    seconds: float
    failed: list[str] = field(default_factory=list)
    _done: dict[tuple[str, str], Trained] = field(default_factory=dict)

    @property
    def images(self) -> Path:
        return self.export.with_name("images")

    def several(self, methods: Iterable[str], **options: Any) -> Iterator[Trained]:
        """`trained` by one method after the other; one that fails is told, and the next is tried."""
        for method in methods:
            name = f"{self.export.parent.name} by {method}"
            if name in self.failed:  # it would again, minutes later
                continue
            try:
                yield self.trained(method, **options)
            except subprocess.CalledProcessError as fault:
                say(f"{method} failed: {fault}")
                self.failed.append(name)

    def trained(
        self,
        method: str,
        *,
        head: str = "promptable",
        epochs: int | None = None,
        evaluated: bool = False,
        **environment: str,
    ) -> Trained:
        """Train with seed 0; `evaluated`: with what `samloop evaluate` says of it."""
        done = self._done.get((method, head))
        if done is None:
            done = self._train(self.export, method=method, head=head, epochs=epochs, **environment)
            self._done[method, head] = done
        if evaluated and not done.report:
            words = ("evaluate", "--export", self.export, "--images", self.images, "--checkpoint", done.folder)
            line, _ = samloop(*words, "--json", cache=done.folder.with_suffix(".cache"))
            done = Trained(method, done.folder, done.manifest, done.train_s, json.loads(line))
            self._done[method, head] = done
        return done

    def trained_on(self, count: int, *, of: Trained, seconds: float) -> Trained:
        """The same with `count` of the images that the training `of` learnt from, and all that it held out."""
        split = of.manifest["metrics"]["split"]
        # By another digest than the split's rank: a fair draw, the same on every machine, smaller ones within larger.
        drawn = sorted(split["learnt"], key=lambda digest: hashlib.sha256(f"curve {digest}".encode()).hexdigest())
        kept = {*drawn[:count], *split["held_out"]}
        tasks = [task for task in json.loads(self.export.read_bytes()) if self.digest(task) in kept]
        export = self.folder / f"{count}.json"
        export.write_text(json.dumps(tasks))
        return self._train(export, method=of.method, head="promptable", seconds=seconds)

    def digest(self, task: dict[str, Any]) -> str:
        return hashlib.sha256(find_image(self.images, task["data"]["image"]).read_bytes()).hexdigest()

    def _train(
        self,
        export: Path,
        *,
        method: str,
        head: str,
        epochs: int | None = None,
        seconds: float | None = None,
        **environment: str,
    ) -> Trained:
        folder = self.folder / f"{self.export.parent.name}-{export.stem}-{method}-{head}"
        cache = cache_without_embeddings(folder.with_suffix(".cache"))
        words = ("train", "--export", export, "--images", self.images, "--out", folder, "--seed", "0")
        words = (*words, "--method", method, "--head", head, "--seconds", f"{seconds or self.seconds:g}")
        words = (*words, *(() if epochs is None else ("--epochs", str(epochs))))
        _, train_s = samloop(*words, cache=cache, **environment)
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        return Trained(method, folder, manifest, train_s, report={})


def cache_without_embeddings(folder: Path) -> Path:
    """A cache folder that has the converted weights and nothing else: every image is encoded."""
    folder.mkdir(parents=True)
    weights = Settings.from_env().cache.dir / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    (folder / "weights").symlink_to(weights)
    return folder


def samloop(*words: str | Path, cache: Path, **environment: str) -> tuple[str, float]:
    """What `samloop words...` prints, and its wall time in seconds."""
    told = [str(word) for word in words]
    say(f"$ samloop {' '.join(told)}")
    started = time.monotonic()
    # Not measured here what is forgotten: it would count as a training's time, and takes longer than its encoding.
    settings = {**os.environ, "SAMLOOP_CACHE_DIR": str(cache), "SAMLOOP_FORGETTING": "false", **environment}
    command = [sys.executable, "-m", "backend", *told]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=settings)
    return done.stdout, time.monotonic() - started
