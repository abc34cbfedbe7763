"""What one host serves, and what further ones add: `python tests/benchmarks/capacity.py [--parts | --print]`.

The parts were measured by `make bench` and refreshing.py, whose blocks in docs/results.md this reads; what follows from
them is the block `capacity` of docs/operation.md. With `--parts` nothing else is written. Measured here is the block
`scaling`: how a refresh scales, with encoders that only wait, so that one machine can play many, and what looks for
missed webhooks cost in a project with a million annotations.
"""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import RESULTS, ROOT, commit, machine, say, write_block
from benchmarks.reconciling import Looks, measure_looks
from fakes.many_tasks import TOUCHED_EVERY, ManyTasks

from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.protocol import Answer
from backend.refresh.rules import Rules
from backend.refresh.walk import Refresh
from backend.settings import Settings
from finetuner.config import TrainConfig

OPERATION = ROOT / "docs" / "operation.md"
ENCODERS = (1, 3, 10)
IMAGE_S = 0.1  # that a played encoder takes for an image
TASKS_AN_ENCODER = 300
IMAGES, OBJECTS_AN_IMAGE = 100, 8  # of the training that stands for a project's
CHEAPEST_DECODES = 6_000
MILLION = 10**6
_ROWS = (
    "Every row assumes hosts that do nothing else. Ten hosts train ten times as often only if ten projects wait for a "
    "training. The rows follow from the times in [Results](results.md#speed), of the default model."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What docs/results.md says of one machine.

    Attributes:
        host: the machine, and the commits, in words.
        click_ms: a click on an image whose embedding is there, over HTTP.
        image_ms: an image of a batch, over HTTP.
        encode_ms: the encoder alone.
        decode_ms: a training's step, for every prompt in it.
        tasks_per_s: what a refresh's walk writes where nothing else takes time.
        walk_tasks: how many tasks that walk had.
        walk_mib: its memory after a tenth of them, and in the end.
    """

    host: str
    click_ms: float
    image_ms: float
    encode_ms: float
    decode_ms: float
    tasks_per_s: float
    walk_tasks: int
    walk_mib: tuple[float, float]

    @classmethod
    def from_results(cls, text: str) -> "Parts":
        """Read the blocks `bench`, `step` and `refreshing`.

        Raises:
            SystemExit: a block lacks what it should hold.
        """
        bench, step, walk = (_find_block(text, name) for name in ("bench", "step", "refreshing"))
        hosts = {_find(r"On? (\d+ cores [^;]+);", block.replace("on ", "On ")) for block in (bench, step, walk)}
        if len(hosts) > 1:
            raise SystemExit(
                f"the parts were measured on several machines, {hosts}: run `make bench` and refreshing.py"
            )
        commits = ", ".join(dict.fromkeys(_find(r"commit ([0-9a-f]+)", block) for block in (bench, step, walk)))
        memory = re.search(r"memory was (\d+) MiB after a tenth and (\d+) MiB", walk)
        if memory is None:
            raise SystemExit("docs/results.md does not say what memory a refresh takes: run refreshing.py")
        return cls(
            host=f"{hosts.pop()}; commits {commits}",
            click_ms=float(_find(r"warm click over HTTP, 1024x768 \| (\d+) ms", bench)),
            image_ms=float(_find(r"batch of 8, two rectangles an image \| (\d+) ms", bench)),
            encode_ms=float(_find(r"batch of 8.*the encoder alone (\d+)", bench)),
            decode_ms=float(_find(r"samloop, \w+ \| \d+ ms \| (\d+) ms", step)),
            tasks_per_s=float(_find(r"(\d+) tasks a second", walk)),
            walk_tasks=int(_find(r"A refresh of ([\d,]+) tasks", walk).replace(",", "")),
            walk_mib=(float(memory[1]), float(memory[2])),
        )

    def count_trainings_per_hour(self) -> float:
        """How many trainings of `IMAGES` images the host ends in an hour, where it does nothing else."""
        wanted = TrainConfig().decodes_per_object * IMAGES * OBJECTS_AN_IMAGE
        decodes = min(TrainConfig().decodes or wanted, max(CHEAPEST_DECODES, wanted))
        return 3_600_000 / (decodes * self.decode_ms + IMAGES * self.encode_ms)


class Played:
    """So many encoders behind one address, which wait instead of working."""

    def __init__(self, encoders: int) -> None:
        self._free = Semaphore(encoders)

    def ask_served_version(self, project_id: int) -> str:
        """Name a version."""
        return "v1"

    def predict(self, tasks: Sequence[Any], *, project_id: int, label_config: str) -> list[Answer]:
        """Answer after as long as one encoder takes."""
        with self._free:
            time.sleep(IMAGE_S * len(tasks))
        return [Answer("v1", 0.5) for _ in tasks]


def measure_refresh(encoders: int, *, tasks: int) -> float:
    """Images a second of a refresh that so many played encoders work for."""
    with ManyTasks(tasks, version="v1") as studio:
        store = PredictionStore(studio.url, "0" * 40, project_id=1)
        rules = Rules(at_once=encoders, batch_s=10 * IMAGE_S)
        refresh = Refresh(
            store=store, backend=Played(encoders), rules=rules, progress=lambda *_, **__: None, check=lambda: None
        )
        began_s = time.monotonic()
        tally = refresh.run()
        seconds = time.monotonic() - began_s
        untouched = tasks - tasks // TOUCHED_EVERY
        if (tally.written, sum(studio.held), max(studio.held)) != (untouched, untouched, 1):
            raise SystemExit(f"{tally.written} of {untouched} written; {max(studio.held)} a task at most")
    return untouched / seconds


def describe_parts(parts: Parts) -> str:
    """The block `capacity` of docs/operation.md."""
    clicks, images, trainings = 1000 / parts.click_ms, 1000 / parts.image_ms, parts.count_trainings_per_hour()
    return "\n".join(
        [
            f"| {parts.host.partition(';')[0]} | One host | Three | Ten |",
            "| --- | --- | --- | --- |",
            *_list_rows("clicks a second, on images already encoded", clicks),
            *_list_rows("new images a second", images),
            *_list_rows(f"trainings an hour, of {IMAGES} images with {IMAGES * OBJECTS_AN_IMAGE} objects", trainings),
            *_list_rows("days for a refresh of a million tasks", 1 / images * MILLION / 86_400, falls=True),
            "",
            _ROWS,
            "",
            _describe_walk(parts, images),
            "",
            f"Written by `python tests/benchmarks/capacity.py --parts`. On {parts.host}.",
        ]
    )


def describe_scaling(rates: dict[int, float], *, looks: Looks, where: str) -> str:
    """The block `scaling` of docs/operation.md."""
    times = {count: f"{rate / rates[1]:.1f}" for count, rate in rates.items() if count > 1}
    scaled = " and ".join(f"{count} give {factor} times" for count, factor in times.items())
    return (
        f"To see how a refresh scales, encoders that only wait stood in for real ones: {scaled} as many images a "
        f"second as one. Every task got one prediction.\n\n{looks.describe()}\n\n"
        f"Measured by `python tests/benchmarks/capacity.py` on {where}."
    )


def _describe_walk(parts: Parts, images: float) -> str:
    rate = Settings().predictions.refresh_rate
    shorter = f" A million tasks were not walked: the figure follows from {parts.walk_tasks:,}."
    return (
        f"A refresh of {parts.walk_tasks:,} tasks holds {parts.walk_mib[0]:.0f} MiB after a tenth of them, and "
        f"{parts.walk_mib[1]:.0f} MiB at the end: its memory does not grow with the tasks. If nothing else takes time, "
        f"it writes {parts.tasks_per_s:.0f} predictions a second, or a million in "
        f"{MILLION / parts.tasks_per_s / 60:.0f} minutes, as many as {parts.tasks_per_s / images:.0f} such hosts "
        f"predict. Label Studio stores every prediction, and is likely to be slower. So `SAMLOOP_REFRESH_RATE` lets "
        f"{rate:.0f} a second pass, as many as {rate / images:.0f} hosts predict; raise it if your Label Studio is "
        f"faster.{shorter if parts.walk_tasks < MILLION else ''}"
    )


def _list_rows(name: str, one: float, *, falls: bool = False) -> Iterator[str]:
    values = (one, one / 3, one / 10) if falls else (one, 3 * one, 10 * one)
    yield f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |"


def _find_block(text: str, name: str) -> str:
    return _find(rf"(?s)<!-- {name}: [^>]*-->\n(.*?)<!-- /{name} -->", text)


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"docs/results.md lacks {pattern!r}: run `make bench` and refreshing.py")
    return match[1]


def main() -> None:
    """Write what follows from the results that stand; then measure how a refresh scales, and write that."""
    parts = describe_parts(Parts.from_results(RESULTS.read_text()))
    say(parts)
    if "--print" not in sys.argv:
        write_block(OPERATION, "capacity", parts)
    if "--parts" in sys.argv:
        return
    where = f"{machine()}; commit {commit()}"
    rates = {count: measure_refresh(count, tasks=count * TASKS_AN_ENCODER) for count in ENCODERS}
    looks = measure_looks(MILLION)
    scaling = describe_scaling(rates, looks=looks, where=where)
    say(scaling)
    if "--print" not in sys.argv:
        write_block(OPERATION, "scaling", scaling)


if __name__ == "__main__":
    main()
