"""What a refresh itself costs: `python tests/benchmarks/refreshing.py [--tasks 100000]`.

Label Studio and the backend are simulated over HTTP, answer at once, and live in a process of their own. So only the
walk is measured: seconds, tasks a second, and the most memory that the walking process ever had. In life the encoder
(some 0.6 s an image on 2 cores, unless it is cached) and Label Studio's database take the time.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.pages import commit, machine, say, write_result
from fakes.many_tasks import TOUCHED_EVERY, ManyTasks

from backend.labelstudio.api.predictions import PredictionStore
from backend.refresh.protocol import Answer
from backend.refresh.rules import Rules
from backend.refresh.walk import Refresh

REGIONS = [{"id": "r", "value": {"rle": list(range(256))}} for _ in range(4)]


class Instant:
    """A backend that takes no time; four small masks a task."""

    def ask_served_version(self, project_id: int) -> str:
        return "v1"

    def predict(self, tasks: Sequence[Any], *, project_id: int, label_config: str) -> list[Answer]:
        return [Answer("v1", 0.5, tuple(REGIONS)) for _ in tasks]


def serve(count: int, pipe: Connection) -> None:
    with ManyTasks(count, version="v1") as studio:
        pipe.send(studio.url)
        pipe.recv()
        pipe.send((sum(studio.held), max(studio.held)))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=100_000)
    count, measured = arguments.parse_args().tasks, commit()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(count, theirs))
    process.start()
    store = PredictionStore(ours.recv(), "0" * 40, project_id=1)
    peaks: list[float] = []

    def progress(_: str, **figures: Any) -> None:
        if figures["done"] * 10 // figures["total"] > len(peaks):
            peaks.append(peak_mib())

    began_s = time.monotonic()
    tally = Refresh(store=store, backend=Instant(), rules=Rules(), progress=progress, check=lambda: None).run()
    seconds = time.monotonic() - began_s
    ours.send(None)
    held, most = ours.recv()
    process.join()
    untouched = count - count // TOUCHED_EVERY
    if (tally.written, held, most) != (untouched, untouched, 1):
        raise SystemExit(f"{tally.written} of {untouched} written; {held} predictions held, {most} a task at most")
    text = (
        f"A refresh of {count:,} tasks, against a Label Studio and a backend that answer at once, writes one prediction"
        f" for every task that nobody has touched: {untouched:,} predictions, at {untouched / seconds:.0f} tasks a"
        f" second. The walk's memory was {peaks[0]:.0f} MiB after a tenth and {peaks[-1]:.0f} MiB at the end. In a real"
        f" refresh, the encoder takes most of the time. `python tests/benchmarks/refreshing.py --tasks {count}`, on"
        f" {machine()}; commit {measured}."
    )
    say(text)
    write_result("refreshing", text)


if __name__ == "__main__":
    main()
